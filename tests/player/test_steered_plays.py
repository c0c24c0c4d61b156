"""Whole plays under content steering, in virtual time: a box dies, steering moves them, steering itself is away."""

from __future__ import annotations

import asyncio
from functools import cache
from urllib.parse import parse_qs

import httpx
import pytest

from player.asking import BEFORE_START_S
from player.playing import PlayReport
from player.steering import PENALTY_S, Heard
from tests.player.lab import AUDIO, LATENCY_S, SEGMENT_S, STEERING, VIDEO, Network, guidance, make_film, now, play, run

A1, A2, B1, ORIGIN = "a1.lab:80", "a2.lab:80", "b1.lab:80", "origin.lab:80"
BASES = tuple((name, f"http://{host}") for name, host in (("pathway-1", A1), ("pathway-2", A2), ("origin", ORIGIN)))
ORDER = ("pathway-1", "pathway-2", "origin")
URL = f"http://{STEERING}/v1/steering/s-1?state=one"
FILM = make_film(160)
MANIFESTS = {"dash": FILM.mpd(BASES, URL), "hls": FILM.m3u8(BASES, URL)}
SESSIONS = 25
KILLED_S, DEAD_S, TTL_S = 60.0, 50.0, 10.0


def hosts(report: PlayReport, since_s: float = 0.0) -> list[str]:
    return list(dict.fromkeys(attempt.host for attempt in report.attempts if attempt.at_s >= since_s))


@cache
def through_a_kill(kind: str) -> tuple[Network, list[PlayReport]]:
    return run(_through_a_kill(MANIFESTS[kind]))


async def _through_a_kill(manifest: str) -> tuple[Network, list[PlayReport]]:
    network = Network(FILM)

    def steer(_request: httpx.Request) -> httpx.Response:
        if A1 in network.dead:
            return guidance("b1", *ORDER[1:], ttl=TTL_S, clones=(("b1", "b1.lab"),))
        return guidance(*ORDER, ttl=TTL_S)

    network.guidance = steer

    async def viewer(number: int) -> PlayReport:
        await asyncio.sleep(number * 0.7)
        return await play(network, manifest)

    async def fate() -> None:
        await asyncio.sleep(KILLED_S)
        network.dead.add(A1)
        await asyncio.sleep(DEAD_S)
        network.dead.discard(A1)

    async with asyncio.TaskGroup() as group:
        group.create_task(fate())
        plays = [group.create_task(viewer(number)) for number in range(SESSIONS)]
    return network, [one.result() for one in plays]


@pytest.mark.parametrize("kind", MANIFESTS)
def test_no_play_stalls_when_the_box_that_all_use_dies_and_each_learns_of_it_once(kind: str) -> None:
    network, reports = through_a_kill(kind)
    assert [report.failure for report in reports] == [""] * SESSIONS
    assert sum(report.stalls for report in reports) == 0
    assert all(report.position_s == pytest.approx(FILM.seconds) for report in reports)
    media = len(FILM.files[VIDEO]) + len(FILM.files[AUDIO])
    playlists = sum(map(len, FILM.files.values())) - media
    assert {report.checked_bytes for report in reports} == {media + (playlists if kind == "hls" else 0)}
    asked_dead = [at for at, host in network.asked if host == A1 and KILLED_S < at < KILLED_S + DEAD_S]
    assert SESSIONS // 2 < len(asked_dead) <= SESSIONS
    assert max(asked_dead) < KILLED_S + SEGMENT_S + TTL_S


@pytest.mark.parametrize("kind", MANIFESTS)
def test_plays_are_moved_to_a_clone_within_one_ttl_and_come_back_when_steering_says_so(kind: str) -> None:
    _network, reports = through_a_kill(kind)
    for report in reports:
        moved = [told.at_s for told in report.told if told.hosts == (B1, B1)]
        assert moved
        assert moved[0] < KILLED_S + TTL_S + 1
        assert B1 in hosts(report, moved[0])
        assert report.told[-1].hosts == (A1, A1)
        assert hosts(report, KILLED_S + DEAD_S + SEGMENT_S + TTL_S) == [A1]
        assert [told.heard for told in report.told] == [Heard.STEERED] * len(report.told)


def test_without_a_tag_nobody_is_asked() -> None:
    network = Network(FILM, lambda _request: guidance(*ORDER))
    report = run(play(network, FILM.mpd(BASES)))
    assert (network.questions, report.told, hosts(report)) == ([], [], [A1])


def test_a_play_goes_on_through_a_kill_when_steering_answers_nothing() -> None:
    async def main() -> tuple[Network, PlayReport]:
        network = Network(FILM, dead={STEERING})
        playing = asyncio.create_task(play(network, FILM.mpd(BASES, URL)))
        await asyncio.sleep(KILLED_S)
        network.dead.add(A1)
        return network, await playing

    network, report = run(main())
    assert (report.failure, report.stalls) == ("", 0)
    assert hosts(report, KILLED_S + PENALTY_S / 2)[0] == A2
    assert [told.heard for told in report.told] == [Heard.FAILED]
    assert len(network.questions) == 1


def test_a_server_that_is_gone_is_not_asked_again() -> None:
    async def main() -> Network:
        network = Network(FILM, lambda _request: httpx.Response(410))
        await play(network, FILM.mpd(BASES, URL))
        return network

    assert len(run(main()).questions) == 1


@pytest.mark.parametrize(("silent", "host", "began_s"), [(False, A2, LATENCY_S), (True, A1, BEFORE_START_S)])
def test_the_first_byte_waits_for_a_server_that_wants_to_be_asked_before_but_not_for_ever(
    silent: bool, host: str, began_s: float
) -> None:
    network = Network(FILM, lambda _request: guidance("pathway-2", "pathway-1", "origin"), silent=silent)
    report = run(play(network, FILM.mpd(BASES, URL, before_start=True)))
    assert hosts(report) == [host]
    assert network.asked[0][0] == pytest.approx(began_s)


@pytest.mark.parametrize(
    ("kind", "prefix", "pathway"), [("dash", "_DASH", '"pathway-1"'), ("hls", "_HLS", "pathway-1")]
)
def test_a_play_reports_where_it_was_and_how_fast_that_was(kind: str, prefix: str, pathway: str) -> None:
    network = Network(FILM, lambda _request: guidance(*ORDER, ttl=30))
    run(play(network, MANIFESTS[kind]))
    assert [round(at) for at, _url in network.questions] == [0, 30, 60, 90, 120, 150]
    asked = parse_qs(network.questions[1][1].query.decode())
    assert asked[f"{prefix}_pathway"] == [pathway]
    assert int(asked[f"{prefix}_throughput"][0]) > 1_000_000
    assert asked["state"] == ["one"]


def test_a_manifest_that_cannot_be_played_is_a_failure_in_words() -> None:
    report = run(play(Network(FILM), "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"))
    assert report.failure == "the manifest cannot be played: line 1: a variant without an address"


def test_virtual_time_passes_without_waiting() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return now()

    assert run(main()) == pytest.approx(3600)
