"""The code that depends on gunicorn's and gevent's internals: connections, requests, processes."""
