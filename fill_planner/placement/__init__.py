"""Placement: which groups a manifest cluster holds, how often, and on which appliances (DESIGN §4.3).

Maximised is what the cluster is expected to serve in its peak hour, plus what stays inside when a box is away, minus the
cost of fetching; the limits are disk, egress and the night's volume. `problem` states it as arrays, `greedy` solves it by
value per byte, `pricing` finds what a byte of each disk and link is worth where boxes differ or links bind, `placing`
speaks of named groups and boxes and gives reasons, `instances` draws problems, `fill_planner.bound` says how far from the
optimum a solution can be. docs/placement.md has the model, the laws and the figures.
"""

from fill_planner.placement.placing import place
from fill_planner.placement.units import ANY_DAY, Box, Copy, Day, Placement, Unit

__all__ = ["ANY_DAY", "Box", "Copy", "Day", "Placement", "Unit", "place"]
