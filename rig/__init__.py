"""Real processes of Spool on this machine, which tests and measurements start, drive and end."""
