"""Triggers: what operators order every appliance to do with content it holds (DESIGN §6; the words are those of CDNI, RFC 8007).

Laws: triggers are numbered without a gap, in the order in which they were made; an appliance applies them in that order and says up to which number it
has; a trigger is complete when every appliance that had to hear of it has applied it in all its processes.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.urls import MEDIA_SERVICE, cache_key

MAX_TEXT = 2048
MAX_PER_ANSWER = 1000


class TriggerType(Enum):
    """What to do (RFC 8007 §5.2.2)."""

    INVALIDATE = "invalidate"
    """Stale: asked for again before it is served, kept where it is found to be current."""
    PURGE = "purge"
    """Gone."""


class Selection(Enum):
    """What of."""

    OBJECT = "object"
    """One cache key: `SERVICE|/path`."""
    PREFIX = "prefix"
    """All cache keys that begin so."""
    TAG = "tag"
    """Media: `title:ID`, `tier:NAME`, `group:TITLE/STEM`; pulled objects: what their origin said (`Cache-Tag`, `Surrogate-Key`)."""
    ALL = "all"


class TriggerState(Enum):
    """RFC 8007 §5.2.3, as far as it applies."""

    PENDING = "pending"
    """Nobody has applied it yet."""
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"
    """Some appliance has not applied it for a day. It still does when it comes back, before it is sent players."""


class TriggerRequest(msgspec.Struct, frozen=True):
    """Operator: `POST /v1/triggers`. `text` is the key, the prefix or the tag; empty for all."""

    type: TriggerType
    selection: Selection
    text: str = ""
    reason: str = ""


class Trigger(msgspec.Struct, frozen=True):
    """One order as appliances get it; `created_at` in seconds since the epoch."""

    number: int
    type: TriggerType
    selection: Selection
    text: str
    created_at: float


class Triggers(msgspec.Struct, frozen=True):
    """`GET /v1/appliance/triggers?after=N`: those above N in their order, at most `MAX_PER_ANSWER`. `number` is that of the newest there is.

    `forgotten`: those up to this number are not kept any more; who has not applied them purges everything.
    """

    number: int
    triggers: tuple[Trigger, ...] = ()
    forgotten: int = 0


class TriggersApplied(msgspec.Struct, frozen=True):
    """`POST /v1/appliance/triggers`: all up to `number` are applied in every process of the appliance."""

    number: int


class Acknowledgement(msgspec.Struct, frozen=True):
    """One appliance that had to hear of a trigger; `at` None: it has not applied it yet."""

    appliance_id: str
    at: float | None


class TriggerStatus(msgspec.Struct, frozen=True):
    trigger: Trigger
    state: TriggerState
    operator: str
    reason: str
    acknowledgements: tuple[Acknowledgement, ...]

    @property
    def waiting(self) -> tuple[str, ...]:
        return tuple(one.appliance_id for one in self.acknowledgements if one.at is None)


class TriggerList(msgspec.Struct, frozen=True):
    """`GET /v1/triggers`: newest first."""

    triggers: tuple[TriggerStatus, ...]


def selection_of(key: str, prefix: str, tag: str, everything: bool) -> tuple[Selection, str]:
    """What an operator means; a path without a delivery service is one of media. Raises ValueError unless exactly one is given."""
    given = (
        (Selection.OBJECT, _whole(key)),
        (Selection.PREFIX, _whole(prefix)),
        (Selection.TAG, tag),
        (Selection.ALL, "all" if everything else ""),
    )
    named = [(selection, text) for selection, text in given if text]
    if len(named) != 1:
        raise ValueError("say exactly one of KEY, --prefix, --tag and --all")
    selection, text = named[0]
    return selection, "" if selection is Selection.ALL else text


def _whole(key: str) -> str:
    return key if not key or "|" in key else cache_key(MEDIA_SERVICE, key)


def state_of(acknowledgements: tuple[Acknowledgement, ...], age_s: float, patience_s: float) -> TriggerState:
    """COMPLETE also when nobody had to hear of it: there was no appliance."""
    waiting = sum(one.at is None for one in acknowledgements)
    if not waiting:
        return TriggerState.COMPLETE
    if age_s > patience_s:
        return TriggerState.FAILED
    return TriggerState.PENDING if waiting == len(acknowledgements) else TriggerState.ACTIVE
