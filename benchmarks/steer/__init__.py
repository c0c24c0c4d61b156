"""What steering costs and how well it spreads (DESIGN §8, `make bench-steer`)."""
