"""A site of whole appliances (supervisor, workers, keeper) around one control plane and one origin, on loopback.

async with site(tmp_path) as made:
    files = [made.publish("t/hd/v.mp4", 8 * MIB)]
    await made.tell({"a-1": ["origin"], "a-2": ["a-1"]}, files)
    await made.until_done()
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.plans import AppliancePlan, Order, RankedSource, Reason, SourceKind
from contracts.tokens.fills import FillClaims, sign
from oca.config import Fetching, Serving
from tests.oca.keeper.lab import MIB, KeeperLab, until
from tests.oca.keeper.plane import FakeControlPlane
from tests.oca.keeper.sources import FakeSource
from tests.oca.keeper.test_two_appliances import appliance, status_of
from tests.oca.store.harness import MadeFile

PATIENT = Fetching(connect_s=20.0, first_byte_s=20.0, stall_s=20.0, hedge_far_s=20.0)


def order_id(name: str, file: MadeFile) -> str:
    return f"o-{name}-{file.digests.blake3[:12]}"


@dataclass
class Site:
    plane: FakeControlPlane
    labs: dict[str, KeeperLab]
    origin: FakeSource | None = None
    urls: dict[str, str] = field(default_factory=dict)
    """Where peers dial each appliance."""
    media: dict[str, str] = field(default_factory=dict)
    numbers: int = 0

    def publish(self, path: str, size: int) -> MadeFile:
        """A file that the origin has and whose digest list the control plane signs."""
        lab = next(iter(self.labs.values()))
        file = lab.publish(path, size)
        assert self.origin is not None, "a site has an origin"
        self.origin.files[file.key.partition("|")[2]] = file.data
        return file

    async def tell(
        self, sources: Mapping[str, Sequence[str | tuple[str, float]]], files: Sequence[MadeFile], **values: Any
    ) -> None:
        """A new plan for each appliance: all files from its sources by name (an appliance's or `origin`), with their waits."""
        self.numbers += 1
        for name, wanted in sources.items():
            ranked = tuple(self._ranked(*one) if isinstance(one, tuple) else self._ranked(one, 0.0) for one in wanted)
            self.plane.plans[name] = self._plan(name, files, ranked, values)
        self.plane.plan = self.plane.plans[next(iter(sources))]
        await self.plane.nudge()

    async def until_done(self, count: int, *names: str, within_s: float = 90.0) -> None:
        """So many orders of each (of those named) are done."""
        await until(
            lambda: all(status_of(self.labs[name]).orders.get("done") == count for name in names or self.labs), within_s
        )

    def credential(self, name: str, file: MadeFile) -> str:
        """What the control plane gives an appliance for a file."""
        claims = FillClaims(order_id(name, file), name, file.key, time.time() + 600.0)
        return sign(claims, self.plane.signing.key, self.plane.signing.kid)

    def _ranked(self, name: str, after_s: float) -> RankedSource:
        if name == "origin":
            assert self.origin is not None, "a site has an origin"
            return RankedSource(SourceKind.ORIGIN, name, self.origin.url, after_s)
        return RankedSource(SourceKind.PEER, name, self.urls[name], after_s)

    def _plan(
        self, name: str, files: Sequence[MadeFile], ranked: tuple[RankedSource, ...], given: Mapping[str, Any]
    ) -> AppliancePlan:
        now = time.time()
        orders = tuple(
            Order(
                order_id(name, file),
                file.key,
                len(file.data),
                file.digests.blake3,
                number,
                ranked,
                Reason.POPULAR,
                1e6,
                1.0,
                self.credential(name, file),
            )
            for number, file in enumerate(files)
        )
        values: dict[str, Any] = {
            "created_at": now,
            "window_opens_at": now - 1,
            "window_closes_at": now + 600,
            "rate_bps": 0,
            "volume_bytes": 0,
        } | dict(given)
        return AppliancePlan(self.numbers, name, pins=tuple(file.key for file in files), orders=orders, **values)


@asynccontextmanager
async def site(root: Path, names: Sequence[str] = ("a-1", "a-2"), quota_bytes: int = 256 * MIB) -> AsyncIterator[Site]:
    """All enrolled, with keys, and without a plan."""
    plane = FakeControlPlane(root)
    await plane.start()
    labs = {
        name: KeeperLab(
            root / name,
            plane,
            fetching=PATIENT,
            quota_bytes=quota_bytes,
            serving=Serving(first_byte_s=20.0, peer_misses=False),
        )
        for name in names
    }
    for lab in labs.values():
        lab.root.mkdir()
    made = Site(plane, labs)
    made.origin = FakeSource(SourceKind.ORIGIN, "origin", {})
    await made.origin.start()
    try:
        async with AsyncExitStack() as stack:
            for name, lab in labs.items():
                plane.appliance = name
                listening = await stack.enter_async_context(appliance(lab))
                made.urls[name], made.media[name] = listening["peers"], listening["media"]
                await until(lambda lab=lab: status_of(lab).ready and status_of(lab).keys_number == 1, 60.0)  # type: ignore[misc]
            yield made
    finally:
        await made.origin.close()
        await plane.close()
        for lab in labs.values():
            lab.board.close()
