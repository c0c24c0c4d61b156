"""Reads and writes of the tables, by noun. Each function works inside a session that its caller opened and ends."""
