"""What holds for every test: a machine that is busy with other things fails no property, and a run finds what the run before found.

`LOWTIDE_RANDOM=1` looks for new examples of properties; what is found becomes a test.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

from tests.sharing import Pieces, long_first

RANDOM = bool(os.environ.get("LOWTIDE_RANDOM"))

settings.register_profile(
    "lowtide",
    deadline=None,
    derandomize=not RANDOM,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lowtide")
if not RANDOM:
    # Hypothesis also tries constants that it reads in whatever modules are loaded: what a property tries would depend on the tests
    # that the process ran before.
    setattr(providers, "_get_local_constants", lambda: providers._local_constants)  # noqa: B010


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Pieces | None:
    return Pieces(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        items[:] = long_first(items)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from tests.measured import say  # its rooms are loaded at the end only

    say(terminalreporter)


def pytest_unconfigure() -> None:
    """Steering freezes its world for the collector, and with it what other tests left: libraries that count at the end would call that a leak."""
    gc.unfreeze()
