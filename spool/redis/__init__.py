"""Access to Redis: connections, round trips, error translation and the server check. Nothing here knows jobs."""
