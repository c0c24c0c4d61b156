"""Pure planning: popularity, forecast, placement, fill schedule (DESIGN §4). `make_plan` in `plan` is the door.

Floors, each using only what is below: config, snapshot → popularity → forecast → demand → placement → clusters, schedule,
sources, explaining → plan → cli. Nothing but cli does I/O.
"""
