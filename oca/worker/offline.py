"""Which tokens an appliance still takes when its control plane has been away for long (DESIGN §3.5).

Theory: nobody revokes through a broken line, so that trust in what is signed meanwhile has to end some time; who was let in before
contact was lost watches on until his token expires.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from contracts.tokens.claims import CLOCK_SKEW_S


@dataclass(frozen=True, slots=True)
class OfflineRule:
    """`strict` refuses every token after `after_s`."""

    after_s: float = 86_400.0
    strict: bool = False

    def newest_taken(self, contact_at: float, now: float) -> float:
        """Tokens issued later than this open nothing: infinity while the control plane has been there within `after_s`."""
        if now - contact_at <= self.after_s:
            return math.inf
        return -math.inf if self.strict else contact_at + CLOCK_SKEW_S

    def sentence(self, newest: float) -> str:
        """What an operator reads when `newest_taken` has become this."""
        if newest == math.inf:
            return "the control plane is back: every token is judged by itself again"
        only = "no token is taken" if self.strict else "only tokens issued before that are taken"
        return f"the control plane has been away for more than {self.after_s:.0f} s: {only}"
