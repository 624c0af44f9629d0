"""Jobs in Redis: the record, the log, submit, claim and the keeper. Their Lua scripts are in ``lua``."""
