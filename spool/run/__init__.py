"""Running Spool on one machine: the supervisor, its programs, and the embedded server."""
