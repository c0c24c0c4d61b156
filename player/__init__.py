"""A scripted adaptive player: a client of the public APIs only, for the demo, the tests and load.

It logs in, asks for a play, reads the DASH manifest, fetches media by range from the named hosts with failover, follows content steering, keeps a
buffer against a playback clock, and checks every byte it got against the published block digests.
"""
