"""What was seen of one play: pictures, requests, and what happened to the system meanwhile. Pure.

The rows are those of `bed/observing.js`; what a page cannot see (preflights, the bodies of steering's answers) is put beside
them. All instants are milliseconds of the page's clock.
"""

from __future__ import annotations

import msgspec

PRESSED = "press"
"""The mark of the instant at which somebody pressed play."""


class Answered(msgspec.Struct, frozen=True, array_like=True):
    """An answer of an appliance or of the origin. `status` is 0 where none came, or the player gave it up."""

    asked_ms: float
    answered_ms: float
    status: int
    host: str
    file: str
    cmcd: bool
    body_bytes: int

    @property
    def is_media(self) -> bool:
        """Picture, sound or words; no playlist."""
        return self.file.endswith(".mp4")

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """A picture that was shown."""

    shown_ms: float
    position_s: float
    height: int


class VideoEvent(msgspec.Struct, frozen=True, array_like=True):
    """What the video element said: waiting, playing, seeking, seeked, pause or ended."""

    at_ms: float
    kind: str
    position_s: float


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """Four times a second: where the video is, and how much of what follows it has."""

    at_ms: float
    position_s: float
    buffer_s: float


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What was done to the player or to the system."""

    at_ms: float
    what: str


class Steered(msgspec.Struct, frozen=True):
    """An answer of content steering. `clones` are the hosts that it added to the manifest's pathways."""

    at_ms: float
    status: int
    ttl_s: float = 0.0
    priority: tuple[str, ...] = ()
    clones: dict[str, str] = {}


class Page(msgspec.Struct, frozen=True):
    """What `observed.everything()` gives. `clock_began_s` is the zero of its clock in seconds since 1970."""

    clock_began_s: float
    ended_ms: float
    answers: tuple[Answered, ...]
    frames: tuple[Frame, ...]
    events: tuple[VideoEvent, ...]
    samples: tuple[Sample, ...]
    marks: tuple[Mark, ...]


class Observed(msgspec.Struct, frozen=True):
    """One play. `pathways` says which pathway of the manifest (host, file) belongs to."""

    page: Page
    pathways: dict[tuple[str, str], str]
    steered: tuple[Steered, ...] = ()
    preflights: int = 0
    failures: tuple[str, ...] = ()
    """What the player said when it gave up, and what its page did not catch."""

    def pathway_of(self, answer: Answered) -> str:
        """The pathway of an answer; one that steering added is called by its host."""
        return self.pathways.get((answer.host, answer.file), answer.host)

    def marked_ms(self, what: str) -> float:
        """When something was first done. Raises LookupError when it never was."""
        found = next((mark.at_ms for mark in self.page.marks if mark.what == what), None)
        if found is None:
            raise LookupError(f"nothing was marked as {what!r}")
        return found
