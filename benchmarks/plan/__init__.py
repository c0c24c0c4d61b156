"""Benchmarks of what a plan is worth and of carrying it out: the `plan/…` and `fill/…` rows."""
