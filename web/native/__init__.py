"""Spool's own API."""
