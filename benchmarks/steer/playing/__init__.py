"""Plays on the whole system: many scripted ones through a kill, and one in a browser."""
