"""How long the credentials of a plan's orders are good: by the clock of who is shown them."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.clock import VirtualClock
from contracts.labtime import REAL_TIME, LabTime
from contracts.plans import AppliancePlan, Order, Reason
from contracts.tokens.claims import TokenRefusal, TokenRefused
from contracts.tokens.fills import GRACE_S, verify
from control_plane.authority import Authority
from control_plane.keys import Keys
from control_plane.revocations import Revocations
from tests.control_plane.test_background import MIDNIGHT, desk_of

KEY = "vod|/media/t/hd/v.mp4"
HOUR_S = 3600.0


@pytest.mark.parametrize(
    ("lab", "opens_at", "window_s"),
    [
        (REAL_TIME, MIDNIGHT, 2 * HOUR_S),
        (LabTime(720.0, MIDNIGHT, MIDNIGHT - 30 * 86400.0), MIDNIGHT - 30 * 86400.0, 10.0),
    ],
)
async def test_a_credential_is_good_until_a_little_after_the_window_by_the_machines_clock(
    lab: LabTime, opens_at: float, window_s: float, tmp_path: Path
) -> None:
    clock = VirtualClock(MIDNIGHT)
    async with desk_of(tmp_path, clock, lab=lab) as desk:
        authority = Authority.open(tmp_path / "pki", ("127.0.0.1",), MIDNIGHT, 90.0)
        order = Order("o-1", KEY, 1000, "00" * 32, 0, (), Reason.POPULAR, 1.0, 1.0)
        closes_at = opens_at + 2 * HOUR_S
        plan = AppliancePlan(1, "a1", opens_at, opens_at, closes_at, 0, 0, (KEY,), (order,))
        signed = await Keys(desk, authority, {}, Revocations(desk)).with_credentials(plan)
        claims = verify(signed.orders[0].credential, {authority.kid: authority.digests_key})
        await clock.advance(window_s + GRACE_S)
        claims.check("a1", KEY, clock.wall_s())
        await clock.advance(GRACE_S)
        with pytest.raises(TokenRefused) as refused:
            claims.check("a1", KEY, clock.wall_s())
        assert refused.value.why is TokenRefusal.EXPIRED
