"""Access: callers, their scopes, and the credentials that stand for them. Web and command line use it."""
