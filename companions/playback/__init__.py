"""A play: may this member watch this here, now? Then whence, with which signed manifest, and how far they got."""
