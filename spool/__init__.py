"""Spool's core: the job record and the job's log in Redis, the contract that web and worker share.

Imports neither ``web`` nor ``worker`` nor Flask.
"""

__version__ = "0.1.0"
