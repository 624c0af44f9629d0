"""Owners: the limits that an operator sets for each."""
