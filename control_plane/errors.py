"""What the control plane refuses, as problems. One function per reason, so that words and codes stay together."""

from __future__ import annotations

from chassis.errors import ProblemError
from contracts.problems import ProblemCode


def unknown(what: str, name: str) -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, f"there is no {what} {name!r}")


def conflict(detail: str) -> ProblemError:
    return ProblemError(ProblemCode.CONFLICT, detail)


def forbidden(detail: str) -> ProblemError:
    return ProblemError(ProblemCode.FORBIDDEN, detail)


def contradiction(errors: tuple[str, ...]) -> ProblemError:
    """Values that were understood but cannot be taken: one line for each."""
    return ProblemError(ProblemCode.UNPROCESSABLE, "; ".join(errors), errors=errors)
