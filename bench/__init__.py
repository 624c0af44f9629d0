"""Measures Spool on real processes. ``make bench`` prints a table; see ``python -m bench --help``."""
