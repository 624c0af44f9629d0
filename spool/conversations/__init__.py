"""Conversations of ``/v1``: items that an owner keeps on the server, and the response that adds to them."""
