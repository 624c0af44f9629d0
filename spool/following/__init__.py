"""Following logs: the only part of a process that waits for entries, shared by all its readers. It knows no HTTP."""
