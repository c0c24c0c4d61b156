"""What crosses a process border: message types, URL layouts, tokens, event types. No I/O, no clock, no randomness.

Values are frozen msgspec Structs. Decoding ignores unknown fields (a newer peer may send more) and refuses wrong
types; every field added later has a default. Byte counts end in `_bytes`, durations in `_s`, rates in `_bps`
(bits per second); instants are seconds since the Unix epoch as `float` and end in `_at`.
"""
