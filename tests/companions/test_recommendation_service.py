"""Recommendation by its HTTP API, with real auth, catalog and playback."""

from __future__ import annotations

import time

import pytest

from contracts.problems import ProblemCode
from contracts.viewing import Home, PlayEvent, RowKind
from tests.companions.lab import Heard, Lab, Member, make_title


@pytest.fixture
async def house(lab: Lab) -> Lab:
    """Four titles in DE, one of them about the sea elsewhere."""
    await lab.start("auth", "catalog", "steering", "playback", "recommendation")
    await lab.publish(
        make_title("tide", genres=("Sea",), published_at=1.0),
        make_title("harbour", genres=("Sea",), published_at=2.0),
        make_title("lighthouse", genres=("Sea",), published_at=3.0),
        make_title("desert", genres=("Western",), published_at=4.0),
        make_title("fjord", genres=("Sea",), regions=("NO",), published_at=5.0),
    )
    return lab


async def _heard(member: Member, profile_id: str = "") -> Heard:
    return await member.ask("GET", "recommendation", f"/v1/home?profile_id={profile_id or member.profile_id}")


async def _home(member: Member) -> Home:
    return (await _heard(member)).as_(Home)


def _rows(home: Home) -> dict[RowKind, list[str]]:
    return {row.kind: [title.id for title in row.titles] for row in home.rows}


async def test_a_new_member_sees_what_is_new_in_the_region(house: Lab) -> None:
    home = await _home(await house.sign_up())
    assert _rows(home) == {RowKind.NEW: ["desert", "lighthouse", "harbour", "tide"]}
    assert home.degraded == ()


async def test_what_was_watched_shapes_the_page_at_once(house: Lab) -> None:
    ann, bob = await house.sign_up(), await house.sign_up("bob@example.org")
    await _home(ann)
    await ann.beat(await ann.play("tide"), 30.72, PlayEvent.STOP)
    await bob.play("desert")
    await house.clock.advance(11)
    home = await _home(ann)
    assert [(row.kind, [title.id for title in row.titles]) for row in home.rows][:2] == [
        (RowKind.CONTINUE, ["tide"]),
        (RowKind.BECAUSE, ["lighthouse", "harbour"]),
    ]
    assert home.rows[0].positions == {"tide": pytest.approx(0.5)}
    assert home.rows[1].heading == "Because you watched Tide"


async def test_what_others_play_in_the_region_is_popular_here(house: Lab) -> None:
    for name in ("bob", "cem"):
        await (await house.sign_up(f"{name}@example.org")).play("harbour")
    nora = await house.sign_up("nora@example.org", region="NO")
    await nora.play("fjord")
    assert _rows(await _home(await house.sign_up()))[RowKind.POPULAR] == ["harbour"]
    assert _rows(await _home(nora))[RowKind.POPULAR] == ["fjord"]


async def test_without_playback_the_page_shows_what_is_known_and_says_so(house: Lab) -> None:
    ann = await house.sign_up()
    await ann.beat(await ann.play("tide"), 30.0, PlayEvent.STOP)
    assert RowKind.CONTINUE in _rows(await _home(ann))
    await house.stop("playback")
    await house.clock.advance(11)
    await _home(ann)
    home = await _home(ann)
    assert set(home.degraded) == {"playback-positions", "playback-popularity"}
    assert _rows(home)[RowKind.CONTINUE] == ["tide"]
    stranger = await _home(await house.sign_up("new@example.org"))
    assert "playback-positions" in stranger.degraded
    assert RowKind.CONTINUE not in _rows(stranger)
    assert stranger.rows


async def test_without_the_catalog_the_last_known_shelf_is_shown_and_without_any_an_empty_page(house: Lab) -> None:
    ann = await house.sign_up()
    before = _rows(await _home(ann))
    abroad = await house.sign_up("zoe@example.org", region="FR")
    await house.stop("catalog")
    await house.clock.advance(11)
    await _home(ann)
    home = await _home(ann)
    assert (home.degraded, _rows(home)) == (("catalog",), before)
    assert await _home(abroad) == Home((), ("catalog",))


async def test_a_member_sees_own_profiles_only(house: Lab) -> None:
    ann, bob = await house.sign_up(), await house.sign_up("bob@example.org")
    (await _heard(ann, bob.profile_id)).problem(ProblemCode.FORBIDDEN)
    (await house.http.call("GET", house.url("recommendation") + "/v1/home?profile_id=x")).problem(
        ProblemCode.UNAUTHENTICATED
    )
    (await ann.ask("GET", "recommendation", "/v1/home")).problem(ProblemCode.BAD_QUERY)


async def test_a_warm_home_page_takes_milliseconds(house: Lab) -> None:
    ann = await house.sign_up()
    await _home(ann)
    took = []
    for _ in range(50):
        started = time.perf_counter()
        await _home(ann)
        took.append(time.perf_counter() - started)
    assert sorted(took)[25] < 0.1


async def test_every_service_says_that_it_lives_is_ready_and_what_it_counts(house: Lab) -> None:
    for name in ("auth", "catalog", "playback", "recommendation"):
        url = house.url(name)
        assert (await house.http.call("GET", url + "/healthz")).status == 200
        assert (await house.http.call("GET", url + "/readyz")).status == 200
        metrics = (await house.http.call("GET", url + "/metrics")).body.decode()
        assert f"lowtide_{name}_" in metrics
        described = await house.http.call("GET", url + "/openapi.json")
        assert b'"openapi"' in described.body
