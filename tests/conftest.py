"""What holds for every test: a machine that is busy with other things fails no property, and a run finds what the run before found.

`LOWTIDE_RANDOM=1` looks for new examples of properties; what is found becomes a test.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lowtide",
    deadline=None,
    derandomize=not os.environ.get("LOWTIDE_RANDOM"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lowtide")


def pytest_unconfigure() -> None:
    """Steering freezes its world for the collector, and with it what other tests left: libraries that count at the end would call that a leak."""
    gc.unfreeze()
