"""A rolling restart, looked at by players who notice everything: kept connections, long pauses, a slow reader."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from chassis.service import Service
from oca.config import Listener, PlayerTls
from oca.link.files import Listening
from oca.supervisor.children import Commands
from oca.supervisor.service import compose
from oca.supervisor.supervising import Supervisor
from tests.oca.supervisor.box import FILE, SCRIPT, Box, box, settings_of, stock, until
from tests.oca.supervisor.players import Line, Place, Trouble
from tests.oca.worker.tls_harness import Issuer
from tests.oca.worker.worker_harness import publish

LONG = publish("long.mp4", 24_000_000)


@dataclass
class Audience:
    """Players until `over`; what they saw."""

    place: Place
    over: asyncio.Event = field(default_factory=asyncio.Event)
    answers: int = 0
    told_to_leave: int = 0
    troubles: list[str] = field(default_factory=list)

    async def player(self, seed: int, pause_s: tuple[float, float]) -> None:
        """Asks range after range over one connection, and opens the next only when an answer said that this was the last."""
        rng = random.Random(seed)
        line: Line | None = None
        try:
            while not self.over.is_set():
                if line is None:
                    line = await Line.open(self.place)
                first = rng.randrange(len(self.place.file.data) - 100_000)
                await line.ask(first, first + rng.choice((999, 20_000, 99_999)))
                self.answers += 1
                if line.is_last:
                    self.told_to_leave += 1
                    await line.ends()
                    line.close()
                    line = None
                await asyncio.sleep(rng.uniform(*pause_s))
        except Trouble as trouble:
            self.troubles.append(f"player {seed}: {trouble}")
        finally:
            if line is not None:
                line.close()


def place_of(found: Box) -> Place:
    host, port = found.address
    return Place(host, port, f"/~{found.keys.token()}{FILE.name.path}", FILE)


async def run_restart(settings: Path) -> tuple[int, str]:
    """`lowtide oca restart`: exit code and all that it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "lowtide", "oca", "restart", "--config", str(settings)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "200"},
    )
    printed, _none = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_a_rolling_restart_under_load_loses_nothing(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, workers=3, retire_s=30.0)
    keys = stock(settings, [FILE, LONG])
    with box(settings, tmp_path, keys) as found:
        before = set(found.children("oca.worker"))
        audience = Audience(place_of(found))
        players = [asyncio.create_task(audience.player(seed, (0.0, 0.03))) for seed in range(8)]
        players += [asyncio.create_task(audience.player(seed, (0.5, 2.5))) for seed in range(100, 108)]
        host, port = found.address
        slow = await Line.open(Place(host, port, f"/~{keys.token()}{LONG.name.path}", LONG), buffer_bytes=1 << 16)
        hurry = asyncio.Event()
        reading = asyncio.create_task(slow.ask_slowly(0, len(LONG.data) - 1, hurry))
        await until(lambda: audience.answers > 100)
        code, printed = await run_restart(tmp_path / "settings.json")
        assert (code, printed.count("replaced; ")) == (0, 3), printed + found.log.read_text()
        assert not reading.done(), "the slow reader was in the middle of its body all the time"
        after = set(found.children("oca.worker"))
        assert len(after - before) == 3
        hurry.set()
        await reading
        slow.close()
        # The old workers end by themselves, long before their limit, as soon as everybody was told.
        await until(lambda: not before & set(found.children("oca.worker")), 20.0)
        answers = audience.answers
        await until(lambda: audience.answers > answers + 100)
        audience.over.set()
        await asyncio.gather(*players)
        assert audience.troubles == []
        assert audience.told_to_leave >= 3, "some of sixteen connections were held by the workers that left"
        log = found.log.read_text()
        assert log.count('"worker-retired"') == 3
        assert '"worker-died"' not in log
        assert await found.metric('lowtide_oca_requests_total{outcome="client-left"}') == 0
        assert await found.metric("lowtide_oca_workers_ready") == 3


async def test_players_over_tls_and_unix_sockets_lose_nothing_either(tmp_path: Path) -> None:
    issuer = Issuer()
    certificate = issuer.write(tmp_path / "certs", "play", "localhost", "127.0.0.1")
    door = str(tmp_path / "media.sock")
    listeners = (Listener("127.0.0.1", tls=True), Listener(path=door))
    settings = settings_of(tmp_path, listeners=listeners, tls=PlayerTls((certificate,)), retire_s=30.0)
    keys = stock(settings, [FILE])
    with box(settings, tmp_path, keys) as found:
        said = Path(found.settings.state_dir, "run", "listening.json").read_bytes()
        (tls_url,) = (url for url in msgspec.json.decode(said, type=Listening).further if url.startswith("https:"))
        plain = place_of(found)
        port = int(tls_url.rpartition(":")[2])
        encrypted = Audience(replace(plain, port=port, tls=issuer.trusting()))
        unix = Audience(replace(plain, host="localhost", socket_path=door))
        players = [
            asyncio.create_task(audience.player(1, (0.0, 0.05))) for audience in (encrypted, unix) for _ in "1234"
        ]
        players += [
            asyncio.create_task(audience.player(2, (0.5, 2.0))) for audience in (encrypted, unix) for _ in "1234"
        ]
        await until(lambda: min(encrypted.answers, unix.answers) > 50 or encrypted.troubles or unix.troubles, 30.0)
        assert encrypted.troubles + unix.troubles == []
        before = set(found.children("oca.worker"))
        code, printed = await run_restart(tmp_path / "settings.json")
        assert code == 0, printed
        await until(lambda: not before & set(found.children("oca.worker")), 30.0)
        for audience in (encrypted, unix):
            audience.over.set()
        await asyncio.gather(*players)
        assert encrypted.troubles + unix.troubles == []
        assert min(encrypted.told_to_leave, unix.told_to_leave) > 0


async def replaced(found: Box, before: set[int]) -> set[int]:
    """The workers, as soon as all are others than before and as many."""

    def others() -> bool:
        now = set(found.children("oca.worker"))
        return not now & before and len(now) == len(before)

    await until(others, 30.0)
    return set(found.children("oca.worker"))


async def test_sighup_restarts_as_the_command_does(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    with box(settings, tmp_path, keys) as found:
        before = set(found.children("oca.worker"))
        assert len(before) == 2
        for _ in range(2):
            found.process.send_signal(signal.SIGHUP)
            before = await replaced(found, before)
        line = await Line.open(place_of(found))
        await line.ask(0, 999)
        line.close()
        log = found.log.read_text()
        assert log.count('"restart-ended"') == 2
        assert log.count('"worker-retired"') == 4


async def with_failing_slot(tmp_path: Path, marker: Path, act: Callable[[Supervisor, Place], Awaitable[None]]) -> None:
    """An appliance in this process whose new workers of slot 1 die at once as long as `marker` exists."""
    settings = settings_of(tmp_path)
    keys = stock(settings, [FILE])
    failing = (sys.executable, str(SCRIPT.with_name("failing_worker.py")), "1", str(marker))
    supervisor: list[Supervisor] = []

    async def composed(service: Service) -> None:
        supervisor.append(await compose(service, settings, Commands(worker=failing)))

    async with Service("oca", composed, grace_s=1.0).running() as urls:
        host, _, port = urls["media"].removeprefix("http://").rpartition(":")
        await until(lambda: supervisor[0].slots.ready_count == 2, 20.0)
        await act(supervisor[0], Place(host, int(port), f"/~{keys.token()}{FILE.name.path}", FILE))


async def test_a_new_worker_that_cannot_start_leaves_the_old_one_serving_and_the_command_says_so(
    tmp_path: Path,
) -> None:
    marker, settings = tmp_path / "broken", tmp_path / "config.yaml"
    settings.write_text(
        f"state_dir: {tmp_path}/state\nstore: {{disks: [{{path: {tmp_path}/disk, quota_bytes: 67108864}}]}}\n"
        "control_plane: {url: 'https://127.0.0.1:1'}\n"
    )

    async def act(supervisor: Supervisor, place: Place) -> None:
        lines = [await Line.open(place) for _ in range(12)]
        for line in lines:
            await line.ask(0, 9)
        old = supervisor.slots.line_of(1)
        marker.touch()
        code, printed = await run_restart(settings)
        assert code == 1
        assert "worker 0: replaced" in printed
        assert "worker 1: no new worker could serve; the restart ended here, see the log" in printed
        assert supervisor.slots.line_of(1) == old
        assert supervisor.slots.ready_count == 2
        assert supervisor.slots.slots[1].early_deaths == 0, "the slot is not blamed for what its successor could not"
        for line in lines:
            await line.ask(10, 19)
        marker.unlink()
        code, printed = await run_restart(settings)
        assert (code, printed.count("replaced; ")) == (0, 2), printed
        for line in lines:
            if not line.is_last:
                await line.ask(20, 29)
            line.close()

    await with_failing_slot(tmp_path, marker, act)


async def test_without_an_appliance_the_command_says_so(tmp_path: Path) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(
        f"state_dir: {tmp_path}/state\nstore: {{disks: [{{path: {tmp_path}/disk, quota_bytes: 67108864}}]}}\n"
        "control_plane: {url: 'https://127.0.0.1:1'}\n"
    )
    code, printed = await run_restart(settings)
    assert code == 1
    assert "No appliance of" in printed


async def test_a_box_that_stops_does_not_wait_for_workers_that_leave(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, retire_s=60.0)
    keys = stock(settings, [FILE])
    with box(settings, tmp_path, keys) as found:
        lines = [await Line.open(place_of(found)) for _ in range(8)]
        for line in lines:
            await line.ask(0, 9)
        before = set(found.children("oca.worker"))
        code, printed = await run_restart(tmp_path / "settings.json")
        assert code == 0, printed
        assert before & set(found.children("oca.worker")), "they wait for their idle connections"
        assert not any(line.has_ended for line in lines)
        found.process.terminate()
        assert await asyncio.to_thread(found.process.wait, 20) == 0
        for line in lines:
            await line.ends()
            line.close()
