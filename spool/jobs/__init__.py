"""Jobs in Redis: the record, the log, submit, claim, and the keeper; their Lua scripts are in ``lua``."""
