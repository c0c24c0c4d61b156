"""Signed media tokens (DESIGN §3.4)."""
