"""What a record of the access log costs, from the worker's call to the line (docs/access-log.md)."""
