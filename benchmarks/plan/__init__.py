"""What planning costs, what a plan is worth, and how it is carried out: the `plan/…` and `fill/…` rows (`make bench-plan`)."""
