"""Structured logs: one JSON object per line on stderr, standard logging (aiohttp, asyncio) routed through.

Laws: a media token, an Authorization header or a password never reaches a line. Paths that may carry a token go through
`redact_path`; values under a secret's name are replaced by the processor in any case.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"
LEVELS = ("debug", "info", "warning", "error", "critical")
_TOKEN_IN_PATH = re.compile(r"/~[^/?#\s\"']*")
_SECRET_NAMES = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "password", "secret", "token", "refresh_token"}
)


def redact_path(path: str) -> str:
    """The path or URL with every media token (`/~TOKEN`) replaced, so that it may be logged."""
    return _TOKEN_IN_PATH.sub("/~" + REDACTED, path)


def redact_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that may be logged: secrets replaced, tokens in values replaced."""
    return {name: REDACTED if name.lower() in _SECRET_NAMES else redact_path(value) for name, value in headers.items()}


def _redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name.lower() in _SECRET_NAMES:
            event[name] = REDACTED
        elif isinstance(value, str) and "/~" in value:
            event[name] = redact_path(value)
    return event


class _MalformedRequests(logging.Filter):
    """What is no HTTP is the sender's fault: one line at info, without a traceback and without the sender's bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if error is None or type(error).__module__ != "aiohttp.http_exceptions":
            return True
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.exc_info = record.exc_text = None
        record.msg = f"malformed-request {type(error).__name__}: {record.msg}"
        return logging.getLogger().isEnabledFor(logging.INFO)


_MALFORMED_REQUESTS = _MalformedRequests()


def configure(
    service: str,
    level: str = "info",
    stream: TextIO | None = None,
    environ: Mapping[str, str] = os.environ,
) -> None:
    """Sets up logging of this process, once, before the first line.

    JSON lines, or coloured text when `stream` is a terminal and `LOWTIDE_LOG=pretty`. Raises ValueError for a level that
    is not one of LEVELS.
    """
    if level not in LEVELS:
        raise ValueError(f"log level {level!r} is not one of {', '.join(LEVELS)}")
    out = stream if stream is not None else sys.stderr
    pretty = environ.get("LOWTIDE_LOG") == "pretty" and out.isatty()

    def name_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        name_service,
        _redact,
    ]
    ending: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if pretty
        else [structlog.processors.format_exc_info, _redact, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.getLogger("aiohttp.server").addFilter(_MALFORMED_REQUESTS)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str, **values: Any) -> structlog.stdlib.BoundLogger:
    """A logger; `values` are on each of its lines. Events are short words, facts are keywords."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name, **values)
    return logger
