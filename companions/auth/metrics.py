"""What auth counts."""

from __future__ import annotations

from enum import Enum

from chassis.metrics import Metrics
from companions.auth.refreshing import RefreshVerdict


class LogInOutcome(Enum):
    """How a log-in ended (log word = value)."""

    OK = "ok"
    WRONG_PASSWORD = "wrong-password"
    UNKNOWN_ACCOUNT = "unknown-account"
    SLOWED_DOWN = "slowed-down"


class AuthMetrics:
    def __init__(self, metrics: Metrics) -> None:
        self.log_ins = metrics.reasons("lowtide_auth_log_ins_total", "Log-ins by outcome", LogInOutcome, "outcome")
        self.refreshes = metrics.reasons(
            "lowtide_auth_refreshes_total", "Presented refresh tokens by verdict", RefreshVerdict, "verdict"
        )
        self.accounts = metrics.counter("lowtide_auth_accounts_made_total", "Accounts made since start")
