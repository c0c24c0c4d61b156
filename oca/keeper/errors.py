"""What the keeper raises on purpose. Expected outcomes of a fetch are values (`FetchFailed`), not exceptions."""

from __future__ import annotations

from enum import Enum

from oca.link.messages import FetchFailure


class Retry(Enum):
    NO = "no"
    YES = "yes"
    ELSEWHERE = "elsewhere"


class KeeperError(Exception):
    """Base. `source` says whose fault it is, `retry` whether asking again helps."""

    source = "ours"
    retry = Retry.NO
    status = 500


class NotConnected(KeeperError):
    """The box has no certificate yet: it can ask nobody."""

    retry = Retry.YES
    status = 503


class FetchFailed(KeeperError):
    """Blocks could not be had. `why` is what the client's answer is made from, the message goes to the log."""

    source = "upstream"
    retry = Retry.ELSEWHERE

    def __init__(self, why: FetchFailure, sentence: str, *, not_held: bool = False) -> None:
        """`not_held`: every source was asked and answers, and none has it yet."""
        super().__init__(sentence)
        self.why = why
        self.not_held = not_held
        self.sentence = sentence
        self.status = why.status


class BadDigestList(KeeperError):
    """A digest list is not signed by a key we know, or not what was asked for. Nothing is fetched by it."""

    source = "upstream"
    retry = Retry.YES
    status = 502


class CannotStart(KeeperError):
    """Settings, descriptors or disks that somebody has to look at; the message says which and what to do."""
