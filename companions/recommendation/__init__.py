"""The rows of a home page: continue watching, because you watched, popular here, new."""
