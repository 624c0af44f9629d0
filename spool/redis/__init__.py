"""The way to Redis: connections, round trips, errors in Spool's own terms, the server check. It knows no job."""
