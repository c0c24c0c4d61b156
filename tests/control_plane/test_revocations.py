"""Revoked sessions: with the key set to everybody, for their time, bounded, over a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.database import Database
from chassis.errors import ServiceError
from contracts.keys import MAX_REVOKED, REVOKED_FOR_S, KeySet, Revocation, RevocationList, RevocationRequest
from contracts.overview import AuditList
from contracts.problems import ProblemCode
from control_plane import records
from control_plane.archive import access as access_archive
from tests.control_plane.plane import Plane, running


async def revoked(plane: Plane) -> list[str]:
    found = await plane.operator.get("/v1/revocations", RevocationList)
    return [item.session for item in found.revocations]


async def revoke(plane: Plane, session: str, valid_s: float = REVOKED_FOR_S) -> Revocation:
    return await plane.operator.post("/v1/revocations", RevocationRequest(session, valid_s), Revocation)


async def test_a_revoked_session_goes_to_appliances_with_the_next_number_of_the_key_set(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    before = await box.get("/v1/keys", KeySet)
    assert before.revoked_sessions == ()
    made = await revoke(plane, "s-1")
    assert made.expires_at > made.revoked_at + 86_400.0
    after = await box.get("/v1/keys", KeySet)
    assert (after.number, after.revoked_sessions) == (before.number + 1, ("s-1",))
    await plane.operator.delete("/v1/revocations/s-1")
    again = await box.get("/v1/keys", KeySet)
    assert (again.number, again.revoked_sessions) == (before.number + 2, ())
    entries = (await plane.operator.get("/v1/audit", AuditList)).entries
    assert [(entry.action, entry.subject) for entry in entries[:2]] == [
        ("restore-session", "s-1"), ("revoke-session", "s-1"),
    ]  # fmt: skip


async def test_a_revocation_ends_by_itself_and_a_restart_forgets_none_that_lasts(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        await revoke(plane, "s-short", valid_s=0.001)
        await revoke(plane, "s-long")
        assert await revoked(plane) == ["s-long"]
        await revoke(plane, "s-long", valid_s=120.0)
        assert await revoked(plane) == ["s-long"], "again changes its end"
    async with running(tmp_path) as plane:
        assert await revoked(plane) == ["s-long"]


@pytest.mark.parametrize("wanted", [RevocationRequest(""), RevocationRequest("x" * 300), RevocationRequest("s", 0.0)])
async def test_what_is_no_session_and_no_time_is_refused(plane: Plane, wanted: RevocationRequest) -> None:
    with pytest.raises(ServiceError) as caught:
        await plane.operator.post("/v1/revocations", wanted, Revocation)
    assert caught.value.code is ProblemCode.UNPROCESSABLE


async def test_the_list_is_bounded_and_says_what_to_do_instead(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        first = await revoke(plane, "s-0")
    database = plane.settings.state_dir / "control_plane.sqlite"
    await _fill(database, first)
    async with running(tmp_path) as plane:
        assert len(await revoked(plane)) == MAX_REVOKED
        with pytest.raises(ServiceError) as caught:
            await revoke(plane, "one-more")
        assert caught.value.code is ProblemCode.CONFLICT
        assert "new key" in str(caught.value)
        assert await revoke(plane, "s-1", valid_s=60.0), "one of the list may still change"


async def _fill(path: Path, like: Revocation) -> None:
    async with Database.open(path, records.metadata, schema_version=records.SCHEMA_VERSION) as database:
        async with database.write() as session:
            for number in range(1, MAX_REVOKED):
                made = Revocation(f"s-{number}", like.revoked_at, like.expires_at)
                await access_archive.put_revocation(session, made)
