"""What holds for every test: a machine that is busy with other things fails no property, and a run finds what the run before found.

`LOWTIDE_RANDOM=1` looks for new examples of properties; what is found becomes a test.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "lowtide",
    deadline=None,
    derandomize=not os.environ.get("LOWTIDE_RANDOM"),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lowtide")
