"""Ranks appliances per playback request (DESIGN §5).

Floors, each using only what is below: prefixes, hashing → world → vigilance → ranking (all pure) → feed, archive → app → cli.
"""
