"""Files that clients upload: records in Redis, content in Redis or in a directory."""
