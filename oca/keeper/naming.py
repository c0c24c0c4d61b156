"""What this box does for its public name: make a key and ask, install what came, or let go. Pure.

Laws
- A certificate is installed only for a key that lies here, and only when it ends later than the one before, or that one has ended.
- A new key is made when there is no certificate that is good, and in the second half of a certificate's life: the renewal is for it. One
  that was sent stands until a certificate for it comes.
- Addresses that changed are sent with the request that the control plane has already: nothing is ordered for them.
- A box that is told no name for a day forgets key and certificate: a control plane that was started without its zone by mistake destroys
  nothing.
- The clock of this box decides when a certificate is old, not whether it has begun: one that is behind asks for no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from contracts.names import ApplianceName

NEW_KEY_SHARE = 1 / 2
FORGET_AFTER_S = 86400.0


class Act(Enum):
    """What comes next (log word = value)."""

    NOTHING = "nothing"
    FORGET = "forget"
    """The control plane has had no name for this box for long: what lies here is no use."""
    MAKE_KEY = "make-key"
    ASK = "ask"
    """Send the signing request that was made, again or for the first time."""
    INSTALL = "install"


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its key: `key` is the digest of the public one. Seconds since the epoch."""

    host: str
    key: str
    begins_at: float
    expires_at: float

    def is_good(self, now: float) -> bool:
        return self.begins_at <= now < self.expires_at


@dataclass(frozen=True, slots=True)
class Here:
    """What lies in the box: the certificate in use, and the key whose request was or will be sent."""

    installed: Certified | None = None
    pending_key: str = ""
    is_sent: bool = False
    """The control plane has the newest request, the addresses of now, and whether there is a certificate."""
    unnamed_s: float = 0.0
    """For how long the control plane has said that it has no name for this box."""


def next_act(told: ApplianceName, came: Certified | None, here: Here, now: float) -> Act:
    """`came` is the certificate in what the control plane told, None without a readable one."""
    mine = here.installed if here.installed is not None and here.installed.host == told.host else None
    if not told.host:
        is_here = here.installed is not None or here.pending_key != ""
        return Act.FORGET if is_here and here.unnamed_s >= FORGET_AFTER_S else Act.NOTHING
    if came is not None and _is_better(came, mine, here, now):
        return Act.INSTALL
    if here.pending_key:
        return Act.NOTHING if here.is_sent else Act.ASK
    if mine is None or _is_old(mine, now):
        return Act.MAKE_KEY
    return Act.NOTHING if here.is_sent else Act.ASK


def has_certificate(host: str, here: Here, now: float) -> bool:
    """One for `host` that has not ended."""
    return here.installed is not None and here.installed.host == host and now < here.installed.expires_at


def url_of(host: str, port: int) -> str:
    """As players write it: a default port is left out."""
    return f"https://{host}" if port == 443 else f"https://{host}:{port}"


def _is_better(came: Certified, mine: Certified | None, here: Here, now: float) -> bool:
    if came.key != here.pending_key and (mine is None or came.key != mine.key):
        return False
    if came == mine or now >= came.expires_at:
        return False
    return mine is None or came.expires_at > mine.expires_at or not mine.is_good(now)


def _is_old(mine: Certified, now: float) -> bool:
    return now >= mine.begins_at + NEW_KEY_SHARE * (mine.expires_at - mine.begins_at)
