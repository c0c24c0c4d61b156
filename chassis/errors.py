"""The errors of the JSON services: what leaves a handler, what a call to another service may raise.

Leaves differ by what the caller can do about them: `source` says whose fault it is, `retry` whether asking again helps.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

from contracts.problems import Problem, ProblemCode


class Source(Enum):
    """Whose fault an error is."""

    CLIENT = "client"
    UPSTREAM = "upstream"
    OURS = "ours"


class Retry(Enum):
    """Whether asking again helps."""

    NO = "no"
    YES = "yes"
    ELSEWHERE = "elsewhere"


class ChassisError(Exception):
    """Base of what chassis raises on purpose."""

    source: Source = Source.OURS
    retry: Retry = Retry.NO
    status: int = 500


def encodable(text: str) -> str:
    """The text with `?` for what UTF-8 cannot carry."""
    return text.encode("utf-8", "replace").decode()


class ProblemError(ChassisError):
    """A handler's refusal: becomes an RFC 9457 answer with the code's status.

    `errors` names everything that is wrong, one line each. `headers` are added to the answer; `retry_after_s` becomes
    `Retry-After` in whole seconds, rounded up.
    """

    def __init__(
        self,
        code: ProblemCode,
        detail: str = "",
        *,
        errors: tuple[str, ...] = (),
        headers: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        # Header bytes that are no UTF-8 come as lone surrogates, which no JSON can carry.
        detail = encodable(detail)
        super().__init__(detail or code.title)
        self.code = code
        self.detail = detail
        self.errors = tuple(encodable(line) for line in errors)
        self.status = code.status
        self.source = Source.CLIENT if code.status < 500 else Source.OURS
        self.retry = Retry.YES if code.status in (429, 503) else Retry.NO
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(0, -int(-retry_after_s // 1)))

    def problem(self, request_id: str = "") -> Problem:
        return Problem.of(self.code, self.detail, self.errors, request_id)


class ServiceError(ChassisError):
    """A call to another service failed. `status` is what it answered, or 502/504 when it did not answer.

    `problem` is its own explanation when it gave one in RFC 9457 form.
    """

    def __init__(
        self,
        detail: str,
        *,
        source: Source,
        retry: Retry,
        status: int,
        problem: Problem | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.source = source
        self.retry = retry
        self.status = status
        self.problem = problem

    @property
    def code(self) -> ProblemCode | None:
        """The reason the other service gave, when it is one of ours."""
        return ProblemCode.from_type(self.problem.type) if self.problem else None


class ConfigError(ChassisError):
    """Settings are wrong. `problems` has one line for each, all at once; the message is all of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        count = len(problems)
        head = "1 setting is wrong" if count == 1 else f"{count} settings are wrong"
        super().__init__("\n".join((f"{head}:", *(f"  {line}" for line in problems))))
        self.problems = problems


class DatabaseError(ChassisError):
    """The database cannot be used as it is: the message says why and what to do."""


class CertificateError(ChassisError):
    """A certificate, key or signing request cannot be used: the message says which and why."""

    source = Source.CLIENT
    status = 400
