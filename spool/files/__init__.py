"""Files that clients upload: records in Redis, content in Redis, in a directory or in an S3 bucket."""
