"""Switches: what an operator stops or pauses without a deploy. They are in Redis until they are taken back."""
