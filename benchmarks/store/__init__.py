"""`make bench-store`: the rows of the store (DESIGN §8)."""
