"""Why a request ended as it did, a connection was closed, a session shed, a hint dropped: one row per reason, with log word and counter.

`Outcome.problem` is the row of `contracts.problems` that the client reads; None where the answer is no error.
"""

from __future__ import annotations

from enum import Enum

from contracts.problems import ProblemCode
from contracts.tokens.claims import TokenRefusal


class Outcome(Enum):
    """How a request ended: (log word, problem of the answer). The word is the label of `lowtide_oca_requests_total`."""

    HIT = ("hit", None)
    """Every byte came from the store without asking the keeper."""
    MISS = ("miss", None)
    """At least one block, or the object's facts, had to be asked for."""
    PASSED = ("passed", None)
    """At least one byte came through the keeper without being stored."""
    NOT_MODIFIED = ("not-modified", None)
    PREFLIGHT = ("preflight", None)
    BAD_REQUEST = ("bad-request", ProblemCode.BAD_REQUEST)
    URI_TOO_LONG = ("uri-too-long", ProblemCode.URI_TOO_LONG)
    TOO_LARGE = ("too-large", ProblemCode.TOO_LARGE)
    """A body is longer than the service takes."""
    HEADER_TOO_LARGE = ("header-too-large", ProblemCode.HEADER_TOO_LARGE)
    METHOD = ("method", ProblemCode.METHOD_NOT_ALLOWED)
    MISDIRECTED = ("misdirected", ProblemCode.MISDIRECTED)
    NOT_FOUND = ("not-found", ProblemCode.NOT_FOUND)
    PRECONDITION_FAILED = ("precondition-failed", ProblemCode.PRECONDITION_FAILED)
    RANGE_NOT_SATISFIABLE = ("range-not-satisfiable", ProblemCode.RANGE_NOT_SATISFIABLE)
    EXPECTATION = ("expectation", ProblemCode.EXPECTATION_FAILED)
    TOKEN_MISSING = ("token-missing", ProblemCode.MEDIA_TOKEN_MISSING)
    TOKEN_MALFORMED = ("token-malformed", ProblemCode.MEDIA_TOKEN_INVALID)
    TOKEN_ALGORITHM = ("token-algorithm", ProblemCode.MEDIA_TOKEN_INVALID)
    TOKEN_SIGNATURE = ("token-signature", ProblemCode.MEDIA_TOKEN_INVALID)
    TOKEN_KEY_UNKNOWN = ("token-key-unknown", ProblemCode.KEY_UNKNOWN)
    TOKEN_UNENFORCED = ("token-unenforced", ProblemCode.MEDIA_TOKEN_UNENFORCED)
    TOKEN_EXPIRED = ("token-expired", ProblemCode.MEDIA_TOKEN_EXPIRED)
    TOKEN_NOT_YET = ("token-not-yet", ProblemCode.MEDIA_TOKEN_NOT_YET)
    TOKEN_SCOPE = ("token-scope", ProblemCode.MEDIA_TOKEN_SCOPE)
    TOKEN_REVOKED = ("token-revoked", ProblemCode.MEDIA_TOKEN_REVOKED)
    TOKEN_OFFLINE = ("token-offline", ProblemCode.MEDIA_TOKEN_OFFLINE)
    NOT_HELD = ("not-held", ProblemCode.NOT_HELD)
    """A peer asked; a peer never fetches for a peer."""
    LOOP = ("loop", ProblemCode.LOOP_DETECTED)
    DRAINING = ("draining", ProblemCode.UNAVAILABLE)
    """A new session came while the box takes none."""
    OVERLOADED = ("overloaded", ProblemCode.UNAVAILABLE)
    """`max_connections` is reached."""
    SHED = ("shed", ProblemCode.UNAVAILABLE)
    """A new session came while the worker is over capacity (`oca.worker.admission.Pressure` says of what)."""
    SESSION_CONNECTIONS = ("session-connections", ProblemCode.TOO_MANY_REQUESTS)
    """One session has more connections than a player needs."""
    NETWORK_CONNECTIONS = ("network-connections", ProblemCode.TOO_MANY_REQUESTS)
    """One client network has more connections than it may."""
    UPSTREAM_TIMEOUT = ("upstream-timeout", ProblemCode.UPSTREAM_TIMEOUT)
    """No block came in time, or nobody upstream could be reached."""
    KEEPER_AWAY = ("keeper-away", ProblemCode.UPSTREAM_TIMEOUT)
    """The keeper was not there until the deadline."""
    UPSTREAM_FAILED = ("upstream-failed", ProblemCode.UPSTREAM_FAILED)
    UNAVAILABLE = ("unavailable", ProblemCode.UNAVAILABLE)
    """The keeper cannot take the fetch now (no space, stopping, too much at once)."""
    DISK_ERROR = ("disk-error", ProblemCode.UNAVAILABLE)
    """A disk did not give what it holds."""
    SHORT_FILE = ("short-file", ProblemCode.UNAVAILABLE)
    """An extent file is shorter than promised: no byte of it is trusted."""
    BAD_BLOCK = ("bad-block", ProblemCode.UNAVAILABLE)
    """A block that was read from a disk is not what was stored: nothing of it was sent."""
    CLIENT_LEFT = ("client-left", None)
    """The connection ended before its answer did."""
    SEND_TIMEOUT = ("send-timeout", None)
    """The client took no byte for too long."""
    CUT_BY_STOP = ("cut-by-stop", None)
    """Draining ended before the answer did."""

    def __init__(self, word: str, problem: ProblemCode | None) -> None:
        self.word = word
        self.problem = problem

    @property
    def status(self) -> int:
        """The status of its error answer. Raises ValueError for an outcome that is none."""
        if self.problem is None:
            raise ValueError(f"{self.word} has no error answer")
        return self.problem.status


class Closing(Enum):
    """Why a connection was closed (log word): the label of `lowtide_oca_connections_closed_total`."""

    CLIENT = "client"
    """The other side closed, or the network broke."""
    ANSWERED = "answered"
    """The request, or HTTP/1.0, asked for it."""
    REFUSED = "refused"
    """A request that cannot be trusted to end where it seems to."""
    HEADER_TIMEOUT = "header-timeout"
    IDLE_TIMEOUT = "idle-timeout"
    ABORTED = "aborted"
    """An answer could not be finished: the bytes that came are fewer than promised, and the connection says so."""
    SEND_TIMEOUT = "send-timeout"
    FULL = "full"
    """`max_connections` is reached."""
    NETWORK_FULL = "network-full"
    """The client network has as many connections as it may."""
    NO_IDENTITY = "no-identity"
    """A peer whose certificate names no appliance, or a peer before this box has a certificate itself."""
    DRAINED = "drained"


class Handshake(Enum):
    """How a player's TLS handshake ended (log word): the label of `lowtide_oca_tls_handshakes_total`."""

    FULL = "full"
    RESUMED = "resumed"
    """A session from before, at this worker or another."""
    CLIENT_LEFT = "client-left"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    """No version or cipher in common, bytes that are no TLS, or a player that does not accept the certificate."""
    NO_CERTIFICATE = "no-certificate"
    """None could be loaded yet."""
    FULL_HOUSE = "full-house"
    """`max_connections` is reached, handshakes counted."""


class Pressure(Enum):
    """Why new sessions are shed (log word): the label of `lowtide_oca_sessions_shed_total`."""

    LAG = "event-loop-lag"
    """The event loop runs late: there is not enough processor."""
    CONNECTIONS = "connections"
    """Nearly as many as `serving.max_connections`."""
    EGRESS = "egress"
    """The egress cap is in use."""
    DISK = "disk-queue"
    """Reads wait for a disk."""
    SESSIONS = "sessions"
    """As many as `serving.capacity.sessions`."""


class HintFate(Enum):
    """What became of a prefetch hint (log word): the label of `lowtide_oca_hints_total`."""

    SENT = "sent"
    """The keeper was told."""
    HELD = "held"
    """The bytes are here."""
    OUTSIDE = "outside"
    """Not below the token's prefix, or written so that it might not be."""
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    """No part of the object is known here."""
    TOO_OFTEN = "too-often"
    """More than `serving.hints_per_s`."""
    KEEPER_AWAY = "keeper-away"


OF_TOKEN: dict[TokenRefusal, Outcome] = {
    TokenRefusal.MISSING: Outcome.TOKEN_MISSING,
    TokenRefusal.MALFORMED: Outcome.TOKEN_MALFORMED,
    TokenRefusal.ALGORITHM: Outcome.TOKEN_ALGORITHM,
    TokenRefusal.SIGNATURE: Outcome.TOKEN_SIGNATURE,
    TokenRefusal.KEY_UNKNOWN: Outcome.TOKEN_KEY_UNKNOWN,
    TokenRefusal.UNENFORCED: Outcome.TOKEN_UNENFORCED,
    TokenRefusal.EXPIRED: Outcome.TOKEN_EXPIRED,
    TokenRefusal.NOT_YET: Outcome.TOKEN_NOT_YET,
    TokenRefusal.SCOPE: Outcome.TOKEN_SCOPE,
    TokenRefusal.REVOKED: Outcome.TOKEN_REVOKED,
    TokenRefusal.OFFLINE: Outcome.TOKEN_OFFLINE,
}
