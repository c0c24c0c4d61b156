"""Ranks appliances per playback request (DESIGN §5).

Floors, each using only what is below: prefixes, hashing, ladder → world → vigilance, standing, reservations → candidates → ranking → explaining,
decided (all pure) → feed, archive, decisions, journal → api → app → cli.
"""
