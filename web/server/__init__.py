"""Everything that depends on the internals of gunicorn and gevent: connections, their requests, their processes."""
