"""Spool's web side: takes prompts, serves logs. Flask under gunicorn and gevent; one file per transport."""
