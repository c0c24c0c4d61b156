"""What the store costs and holds (DESIGN §8, `store/…`): `make bench-store`."""
