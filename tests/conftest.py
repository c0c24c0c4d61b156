"""What holds for every test: a machine that is busy with other things fails no property."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("lowtide", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lowtide")
