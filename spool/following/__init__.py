"""Following logs: the one place of a process that waits for entries, and what its readers share. It knows no HTTP."""
