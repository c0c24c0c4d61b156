"""Two whole appliances (supervisor, workers, keeper) and an origin: what one holds the other takes from it, over mutual TLS."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import msgspec
import yaml

from chassis import config
from contracts.keys import KeySet, KeyUse, PublicKey
from contracts.plans import RankedSource, SourceKind
from contracts.tokens.claims import MediaClaims
from contracts.tokens.jwt import sign
from contracts.tokens.media import TokenFormat, codec_of
from oca.config import Fetching, Serving
from oca.link.files import KeeperStatus
from tests.oca.keeper.lab import MIB, KeeperLab, until
from tests.oca.keeper.plane import FakeControlPlane, SigningKey


def media_path(plane: FakeControlPlane, path: str) -> str:
    now = time.time()
    claims = MediaClaims("playback", "session-1", "/media/t/", ("hd",), now + 600, now)
    return f"/~{sign(claims, plane.media_key.key, plane.media_key.kid)}{path}"


@asynccontextmanager
async def appliance(lab: KeeperLab) -> AsyncIterator[dict[str, str]]:
    """`lowtide oca run` with the lab's settings; its URLs by listener, once it is enrolled and has keys."""
    lab.write_code()
    file = lab.root / "oca.yaml"
    file.write_text(yaml.safe_dump(json.loads(config.encode(lab.settings))))
    reading, writing = os.pipe()
    process = _spawn(file, writing)
    os.close(writing)
    try:
        line = await asyncio.to_thread(os.read, reading, 65536)
        yield json.loads(line)["listening"]
    finally:
        os.close(reading)
        process.terminate()
        assert await asyncio.to_thread(process.wait, 30) == 0


def _spawn(settings: Path, ready_fd: int) -> subprocess.Popen[bytes]:
    program = "from oca.cli import app; app()"
    arguments = ["run", "--config", str(settings), "--ready-fd", str(ready_fd)]
    return subprocess.Popen([sys.executable, "-c", program, *arguments], pass_fds=(ready_fd,))


def status_of(lab: KeeperLab) -> KeeperStatus:
    path = lab.state_dir / "run" / "keeper.json"
    return msgspec.json.decode(path.read_bytes(), type=KeeperStatus) if path.exists() else KeeperStatus()


async def test_what_one_holds_the_other_takes_from_it_and_only_the_rest_from_the_origin(tmp_path: Path) -> None:
    plane = FakeControlPlane(tmp_path)
    await plane.start()
    first = KeeperLab(tmp_path / "a1", plane)
    # A slow machine makes nobody ask the origin for what the other box holds: what is asserted is where bytes come from.
    patient = Fetching(connect_s=20.0, first_byte_s=20.0, stall_s=20.0, hedge_far_s=20.0)
    second = KeeperLab(tmp_path / "a2", plane, fetching=patient, serving=Serving(first_byte_s=20.0))
    for lab in (first, second):
        lab.root.mkdir()
    held, cold = first.publish("t/hd/held.mp4", 5 * MIB + 9), first.publish("t/hd/cold.mp4", 2 * MIB)
    origin = await first.source(SourceKind.ORIGIN, "origin", [held, cold])
    try:
        async with httpx.AsyncClient(timeout=30.0) as player, appliance(first) as one:
            await until(lambda: status_of(first).ready and status_of(first).keys_number == 1)
            first.plan(1, first.order(held, (origin, 0.0)))
            await plane.nudge()
            await until(lambda: status_of(first).orders.get("done") == 1)
            plane.plan = None
            plane.appliance = "a-2"
            plane.parents = (RankedSource(SourceKind.PEER, "a-1", one["peers"]), origin.ranked)
            sent = origin.sent_bytes
            async with appliance(second) as two:
                await until(lambda: status_of(second).ready and status_of(second).keys_number == 1)
                path = media_path(plane, "/media/t/hd/held.mp4")
                answer = await player.get(two["media"] + path, headers={"Range": "bytes=100-3000000"})
                assert (answer.status_code, answer.content) == (206, held.data[100:3000001])
                answer = await player.get(two["media"] + path)
                assert (answer.status_code, answer.content) == (200, held.data)
                assert origin.sent_bytes == sent, "all of it came from the other box"
                answer = await player.get(two["media"] + media_path(plane, "/media/t/hd/cold.mp4"))
                assert (answer.status_code, answer.content) == (200, cold.data)
                assert origin.sent_bytes == sent + len(cold.data), "the other box did not fetch it for this one"
                answer = await player.get(two["media"] + media_path(plane, "/media/t/hd/none.mp4"))
                assert answer.status_code == 404
    finally:
        await first.close_world()
        first.board.close()
        second.board.close()


async def test_an_appliance_follows_new_keys_and_revoked_sessions_while_it_serves(tmp_path: Path) -> None:
    plane = FakeControlPlane(tmp_path)
    await plane.start()
    lab = KeeperLab(tmp_path, plane)
    file = lab.publish("t/hd/a.mp4", MIB)
    await lab.source(SourceKind.ORIGIN, "origin", [file])
    old, new = plane.media_key, SigningKey("m-2", KeyUse.MEDIA)

    def token(key: SigningKey, format_: TokenFormat, session: str = "session-1") -> str:
        now = time.time()
        claims = MediaClaims("playback", session, "/media/t/", ("hd",), now + 600, now)
        return codec_of(format_).sign(claims, key.key, key.kid)

    async def publish(number: int, *keys: PublicKey, revoked: tuple[str, ...] = ()) -> None:
        plane.keys = KeySet(number, (plane.signing.public, *keys), revoked)
        await plane.nudge()

    try:
        async with httpx.AsyncClient(timeout=30.0) as player, appliance(lab) as box:

            async def said(token: str) -> str:
                answer = await player.get(f"{box['media']}/~{token}/media/t/hd/a.mp4", headers={"Range": "bytes=0-9"})
                return "" if answer.status_code == 206 else str(answer.json()["type"]).rpartition("/")[2]

            async def until_said(token: str, word: str) -> None:
                for _ in range(100):
                    if (found := await said(token)) == word:
                        return
                    await asyncio.sleep(0.1)
                assert found == word

            by_old, by_new = token(old, TokenFormat.JWT), token(new, TokenFormat.CAT)
            await until_said(by_old, "")
            assert await said(by_new) == "key-unknown"
            ending = msgspec.structs.replace(old.public, not_after=time.time() + 600.0)
            await publish(2, ending, new.public)
            await until_said(by_new, "")
            assert await said(by_old) == "", "what the old key has signed opens until it ends"
            await publish(3, msgspec.structs.replace(old.public, not_after=time.time() - 1.0), new.public)
            await until_said(by_old, "key-unknown")
            assert await said(by_new) == ""
            await publish(4, new.public, revoked=("session-1",))
            await until_said(by_new, "media-token-revoked")
            assert await said(token(new, TokenFormat.CAT, "session-2")) == ""
            assert await said(token(new, TokenFormat.JWT)) == "media-token-revoked", (
                "nor does a fresh one of the session"
            )
            await publish(5, new.public)
            await until_said(by_new, "")
    finally:
        await lab.close_world()
        lab.board.close()


async def test_players_are_served_on_while_the_keeper_is_killed_and_misses_go_on_after_it(tmp_path: Path) -> None:
    plane = FakeControlPlane(tmp_path)
    await plane.start()
    # The default deadline of 3 s is a player's; a busy test machine may need longer to start a process.
    lab = KeeperLab(tmp_path, plane, serving=Serving(first_byte_s=20.0))
    held, cold = lab.publish("t/hd/held.mp4", 3 * MIB), lab.publish("t/hd/cold.mp4", 3 * MIB)
    await lab.source(SourceKind.ORIGIN, "origin", [held, cold])
    try:
        async with httpx.AsyncClient(timeout=30.0) as player, appliance(lab) as box:
            await until(lambda: status_of(lab).ready and status_of(lab).keys_number == 1)
            url = box["media"] + media_path(plane, "/media/t/hd/held.mp4")
            assert (await player.get(url)).content == held.data
            await until(lambda: status_of(lab).held_files == 1)
            await asyncio.sleep(1.2)
            killed = status_of(lab).pid
            os.kill(killed, 9)
            answer = await player.get(url)
            assert (answer.status_code, answer.content) == (200, held.data), "hits need no keeper"
            answer = await player.get(box["media"] + media_path(plane, "/media/t/hd/cold.mp4"))
            assert (answer.status_code, answer.content) == (200, cold.data), "a miss waits for the next keeper"
            await until(lambda: status_of(lab).pid != killed)
    finally:
        await lab.close_world()
        lab.board.close()


async def test_a_hint_of_a_player_is_fetched_ahead_and_its_next_request_is_a_hit(tmp_path: Path) -> None:
    plane = FakeControlPlane(tmp_path)
    await plane.start()
    lab = KeeperLab(tmp_path, plane, serving=Serving(first_byte_s=20.0))
    file = lab.publish("t/hd/a.mp4", 6 * MIB)
    origin = await lab.source(SourceKind.ORIGIN, "origin", [file])

    async def ended(player: httpx.AsyncClient, box: dict[str, str], outcome: str) -> float:
        text = (await player.get(f"{box['status']}/metrics")).text
        return float(text.split(f'lowtide_oca_requests_total{{outcome="{outcome}"}} ')[1].split("\n")[0])

    try:
        async with httpx.AsyncClient(timeout=30.0) as player, appliance(lab) as box:
            await until(lambda: status_of(lab).ready and status_of(lab).keys_number == 1)
            url = box["media"] + media_path(plane, "/media/t/hd/a.mp4")

            async def ask(first: int, query: str = "") -> None:
                wanted = {"Range": f"bytes={first}-{first + MIB - 1}"}
                answer = await player.get(url + query, headers=wanted)
                assert (answer.status_code, answer.content) == (206, file.data[first : first + MIB])

            await ask(0)
            hint = f"?CMCD=bl%3D9000%2Cnrr%3D%22{4 * MIB}-{5 * MIB - 1}%22"
            await ask(0, hint)
            await until(lambda: origin.sent_bytes == 2 * MIB)
            await asyncio.sleep(1.5)  # what was fetched ahead was announced to nobody: the index tells, within a second
            before = await ended(player, box, "hit"), await ended(player, box, "miss")
            await ask(4 * MIB)
            after = await ended(player, box, "hit"), await ended(player, box, "miss")
            assert after == (before[0] + 1, before[1])
            assert origin.sent_bytes == 2 * MIB, "nothing was fetched twice"
    finally:
        await lab.close_world()
        lab.board.close()
