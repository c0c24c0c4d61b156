"""Triggers: numbered without a gap, told to appliances, acknowledged by each, kept over a restart; who is behind is sent nobody."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.client import ServiceClient
from chassis.enrolment import kept_files
from chassis.errors import ServiceError
from contracts.overview import AuditList, Overview
from contracts.places import ApplianceState, StateChange
from contracts.reports import Heartbeat
from contracts.triggers import (
    Acknowledgement,
    Selection,
    Trigger,
    TriggerList,
    TriggerRequest,
    Triggers,
    TriggersApplied,
    TriggerState,
    TriggerStatus,
    TriggerType,
    state_of,
)
from control_plane.health import BEHIND, Pulse, beat
from control_plane.triggers import BEHIND_S, is_behind
from tests.control_plane.plane import Plane, running, title
from tests.control_plane.test_cli import typed

PURGE, INVALIDATE = TriggerType.PURGE, TriggerType.INVALIDATE
KEY = "vod|/media/t/hd/v.mp4"


async def make(plane: Plane, selection: Selection, text: str = "", type_: TriggerType = PURGE) -> TriggerStatus:
    return await plane.operator.post("/v1/triggers", TriggerRequest(type_, selection, text, "licence"), TriggerStatus)


async def status(plane: Plane, number: int) -> TriggerStatus:
    return await plane.operator.get(f"/v1/triggers/{number}", TriggerStatus)


async def after(box: ServiceClient, number: int) -> Triggers:
    return await box.get("/v1/appliance/triggers", Triggers, query={"after": number})


async def test_a_trigger_goes_to_every_appliance_and_is_complete_when_all_have_acknowledged_it(plane: Plane) -> None:
    await plane.add_site()
    first, second = await plane.add_box("a1"), await plane.add_box("a2")
    made = await make(plane, Selection.OBJECT, KEY)
    assert (made.trigger.number, made.state, made.waiting) == (1, TriggerState.PENDING, ("a1", "a2"))
    await make(plane, Selection.TAG, "title:t", INVALIDATE)
    found = await after(first, 0)
    assert [(t.number, t.type, t.selection, t.text) for t in found.triggers] == [
        (1, PURGE, Selection.OBJECT, KEY), (2, INVALIDATE, Selection.TAG, "title:t"),
    ]  # fmt: skip
    assert (found.number, found.forgotten) == (2, 0)
    assert [trigger.number for trigger in (await after(first, 1)).triggers] == [2]
    await first.post("/v1/appliance/triggers", TriggersApplied(2))
    assert (await status(plane, 1)).state is TriggerState.ACTIVE
    assert (await status(plane, 1)).waiting == ("a2",)
    await second.post("/v1/appliance/triggers", TriggersApplied(1))
    assert (await status(plane, 1)).state is TriggerState.COMPLETE
    assert (await status(plane, 2)).waiting == ("a2",)
    listed = (await plane.operator.get("/v1/triggers", TriggerList)).triggers
    assert [one.trigger.number for one in listed] == [2, 1]
    entries = (await plane.operator.get("/v1/audit", AuditList)).entries
    assert [(entry.action, entry.subject) for entry in entries[:2]] == [("trigger", "2"), ("trigger", "1")]
    assert "licence" in entries[0].detail


async def test_an_appliance_is_told_at_once_that_there_is_a_trigger(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    async with box.websocket("/v1/appliance/heartbeat", heartbeat_s=5.0) as stream:
        assert b'"triggers_number":0' in (await stream.receive(2.0)).data.encode()
        await make(plane, Selection.ALL)
        assert b'"triggers_number":1' in (await stream.receive(2.0)).data.encode()


async def test_a_restart_forgets_no_trigger_and_no_acknowledgement(tmp_path: Path) -> None:
    async with running(tmp_path) as plane:
        await plane.add_site()
        box = await plane.add_box("a1")
        await make(plane, Selection.ALL)
        await make(plane, Selection.PREFIX, "vod|/media/t/")
        await box.post("/v1/appliance/triggers", TriggersApplied(1))
    async with running(tmp_path) as plane:
        overview = await plane.operator.get("/v1/overview", Overview)
        assert (overview.triggers_number, overview.appliances[0].triggers_applied) == (2, 1)
        assert (await status(plane, 1)).state is TriggerState.COMPLETE
        assert (await status(plane, 2)).state is TriggerState.PENDING
        assert (await make(plane, Selection.ALL)).trigger.number == 3


async def test_nobody_waits_for_an_appliance_that_retired_and_one_that_comes_later_gets_all(plane: Plane) -> None:
    await plane.add_site()
    await plane.add_box("a1")
    await make(plane, Selection.ALL)
    await plane.operator.post("/v1/appliances/a1/state", StateChange(ApplianceState.RETIRED))
    assert (await status(plane, 1)).state is TriggerState.COMPLETE
    late = await plane.add_box("a2")
    assert [trigger.number for trigger in (await after(late, 0)).triggers] == [1]


async def test_a_title_that_is_withdrawn_is_purged_once_everywhere_under_the_name_of_its_origin(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    origin = await plane.service_caller("origin")
    await origin.put("/v1/titles/sea", title())
    async with box.websocket("/v1/appliance/heartbeat", heartbeat_s=5.0) as stream:
        assert b'"triggers_number":0' in (await stream.receive(2.0)).data.encode()
        await origin.delete("/v1/titles/sea")
        assert b'"triggers_number":1' in (await stream.receive(2.0)).data.encode()
    found = (await after(box, 0)).triggers
    assert [(t.number, t.type, t.selection, t.text) for t in found] == [(1, PURGE, Selection.TAG, "title:sea")]
    made = await status(plane, 1)
    assert (made.operator, made.reason, made.waiting) == ("service/origin", "the title was withdrawn", ("a1",))
    newest = (await plane.operator.get("/v1/audit", AuditList)).entries[0]
    assert (newest.operator, newest.action, newest.subject) == ("service/origin", "trigger", "1")
    assert "title:sea" in newest.detail


async def test_a_withdrawal_that_is_said_twice_or_of_nothing_orders_one_purge_and_the_next_one_another(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as plane:
        origin = await plane.service_caller("origin")
        await origin.put("/v1/titles/sea", title())
        said = await asyncio.gather(*(origin.delete("/v1/titles/sea") for _ in range(3)), return_exceptions=True)
        assert sorted(getattr(answer, "status", 0) for answer in said) == [0, 404, 404]
    async with running(tmp_path) as plane:
        origin = plane.caller(kept_files(tmp_path / "enrolled" / "origin"))
        with pytest.raises(ServiceError, match="sea"):
            await origin.delete("/v1/titles/sea")
        assert len((await plane.operator.get("/v1/triggers", TriggerList)).triggers) == 1
        await origin.put("/v1/titles/sea", title(seed=b"y"))
        await origin.delete("/v1/titles/sea")
        listed = (await plane.operator.get("/v1/triggers", TriggerList)).triggers
        assert [(one.trigger.number, one.trigger.text) for one in listed] == [(2, "title:sea"), (1, "title:sea")]


async def test_a_title_stays_when_its_purge_cannot_be_written_down(plane: Plane) -> None:
    origin = await plane.service_caller("origin")
    await origin.put("/v1/titles/sea", title())
    with closing(sqlite3.connect(plane.settings.state_dir / "control_plane.sqlite")) as database:
        database.execute("CREATE TRIGGER refuse BEFORE INSERT ON triggers BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(ServiceError) as refused:
            await origin.delete("/v1/titles/sea")
        assert refused.value.status == 500
        overview = await plane.operator.get("/v1/overview", Overview)
        assert (overview.titles, overview.files, overview.triggers_number) == (1, 2, 0)
        database.execute("DROP TRIGGER refuse")
    await origin.delete("/v1/titles/sea")
    assert (await status(plane, 1)).trigger.text == "title:sea"
    assert (await plane.operator.get("/v1/overview", Overview)).titles == 0


@pytest.mark.parametrize(
    ("wanted", "word"),
    [
        (TriggerRequest(PURGE, Selection.ALL, "x"), "must be empty"),
        (TriggerRequest(PURGE, Selection.OBJECT), "1 to 2048 bytes"),
        (TriggerRequest(PURGE, Selection.TAG, "x" * 2049), "1 to 2048 bytes"),
        (TriggerRequest(PURGE, Selection.PREFIX, "/media/t/"), "delivery service"),
    ],
)
async def test_what_names_nothing_is_refused_in_words(plane: Plane, wanted: TriggerRequest, word: str) -> None:
    with pytest.raises(ServiceError, match=word):
        await plane.operator.post("/v1/triggers", wanted, TriggerStatus)


async def test_a_number_that_was_never_given_and_a_trigger_that_is_not_there_are_refused(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    with pytest.raises(ServiceError, match="never given"):
        await box.post("/v1/appliance/triggers", TriggersApplied(1))
    for name in ("7", "x"):
        with pytest.raises(ServiceError) as caught:
            await plane.operator.get(f"/v1/triggers/{name}", TriggerStatus)
        assert caught.value.status == 404
    with pytest.raises(ServiceError) as refused:
        await plane.nobody.get("/v1/appliance/triggers", Triggers)
    assert refused.value.status == 403


async def test_an_operator_purges_by_hand_and_sees_who_has_not_heard(plane: Plane) -> None:
    await plane.add_site()
    box = await plane.add_box("a1")
    waiting = await typed(plane, "purge", "/media/t/hd/v.mp4", "--wait-s", "0")
    assert waiting.exit_code == 1
    assert f"trigger 1: purge object {KEY}: pending, 0 of 1 appliances; waiting for a1" in waiting.output
    await box.post("/v1/appliance/triggers", TriggersApplied(1))
    assert "trigger 1: purge object" in (await typed(plane, "triggers")).output
    assert "complete, 1 of 1 appliances" in (await typed(plane, "triggers")).output
    soft = await typed(plane, "purge", "--tag", "title:t", "--soft", "--wait-s", "0")
    assert "invalidate tag title:t" in soft.output
    assert (await typed(plane, "purge", "/media/t/hd/v.mp4", "--all")).exit_code == 2
    assert (await typed(plane, "purge")).exit_code == 2


@given(st.lists(st.floats(0, 200), max_size=6), st.integers(0, 7))
def test_behind_is_who_has_not_applied_a_trigger_a_minute_after_it_was_made(ages: list[float], applied: int) -> None:
    made = sorted(1000.0 - age for age in ages)
    kept = [Trigger(number, PURGE, Selection.ALL, "", at) for number, at in enumerate(made, 1)]
    expected = any(trigger.number > applied and 1000.0 - trigger.created_at >= BEHIND_S for trigger in kept)
    assert is_behind(kept, applied, 1000.0) is expected


def test_who_is_behind_serves_nobody_whatever_it_says_and_others_are_told_why() -> None:
    pulse = beat(beat(Pulse(behind=True, connected=True), Heartbeat(1), 0.0), Heartbeat(2), 1.0)
    health = pulse.health("a1")
    assert (health.serving, health.suspect) == (False, False)
    assert BEHIND in health.reasons


def test_a_trigger_that_nobody_has_to_hear_of_is_complete_and_one_that_waits_for_a_day_has_failed() -> None:
    waiting, done = Acknowledgement("a", None), Acknowledgement("b", 3.0)
    assert state_of((), 0.0, 10.0) is TriggerState.COMPLETE
    assert state_of((waiting,), 1.0, 10.0) is TriggerState.PENDING
    assert state_of((waiting, done), 1.0, 10.0) is TriggerState.ACTIVE
    assert state_of((waiting, done), 11.0, 10.0) is TriggerState.FAILED
    assert state_of((done,), 11.0, 10.0) is TriggerState.COMPLETE
