"""A service's life: ready, background tasks, graceful end; as tasks here and once as a real process."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiohttp import web

from chassis import logs
from chassis.clock import VirtualClock
from chassis.errors import ChassisError
from chassis.health import Health, NotReady
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.service import Inherited, Listener, OnDeath, Service, Tcp, UnixPath
from chassis.web import STOPPING, build_app


def app_with(*raws: tuple[str, object], health: Health | None = None) -> web.Application:
    routes = Routes("t")
    for path, handler in raws:
        routes.raw("GET", path, handler, summary=path)  # type: ignore[arg-type]
    return build_app(routes, metrics=Metrics("t", process=False), health=health)


async def nothing(_service: Service) -> None:
    pass


async def test_the_ready_line_names_each_listener_with_its_real_port(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    socket_path = tmp_path / "s.sock"

    async def compose(service: Service) -> None:
        service.listen(Listener("http", app_with(), Tcp("127.0.0.1", 0)))
        service.listen(Listener("local", app_with(), UnixPath(socket_path)))

    service = Service("t", compose, ready_fd=writing, ready_file=tmp_path / "ready", grace_s=0.2)
    async with service.running() as urls:
        with os.fdopen(reading, "rb") as pipe:
            line = pipe.read()
        assert json.loads(line) == {"listening": urls}
        assert (tmp_path / "ready").read_bytes() == line
        assert urls["local"] == f"unix:{socket_path}"
        assert socket_path.stat().st_mode & 0o777 == 0o600
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket_path))) as session:
            async with session.get("http://x/openapi.json") as response:
                assert response.status == 200
    assert not socket_path.exists()


async def test_an_inherited_socket_is_served() -> None:
    import socket

    given = socket.create_server(("127.0.0.1", 0))

    async def compose(service: Service) -> None:
        service.listen(Listener("http", app_with(), Inherited(given)))

    async with Service("t", compose, grace_s=0.2).running() as urls:
        assert urls["http"] == f"http://127.0.0.1:{given.getsockname()[1]}"


async def test_a_taken_port_is_told_in_words() -> None:
    import socket

    taken = socket.create_server(("127.0.0.1", 0))
    port = taken.getsockname()[1]

    async def compose(service: Service) -> None:
        service.listen(Listener("http", app_with(), Tcp("127.0.0.1", port)))

    with taken, pytest.raises(ChassisError, match=rf"cannot listen on 127.0.0.1:{port}"):
        async with Service("t", compose).running():
            pass


async def test_a_folder_that_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    async def compose(_service: Service) -> None:
        (tmp_path / "file" / "state").mkdir()

    with pytest.raises(ChassisError, match=r"^t: cannot start: .*file/state"):
        async with Service("t", compose).running():
            pass


async def test_a_running_request_is_finished_when_the_service_stops() -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def slow(_request: web.Request) -> web.Response:
        started.set()
        await finish.wait()
        return web.Response(text="whole")

    async def compose(service: Service) -> None:
        service.listen(Listener("http", app_with(("/slow", slow)), Tcp("127.0.0.1", 0)))

    service = Service("t", compose, grace_s=5)
    async with aiohttp.ClientSession() as session:
        async with service.running() as urls:
            call = asyncio.create_task(session.get(urls["http"] + "/slow"))
            await started.wait()
            asyncio.get_running_loop().call_later(0.05, finish.set)
        async with await call as response:
            assert await response.text() == "whole"


async def test_streams_are_told_to_end_when_the_service_stops() -> None:
    seen = asyncio.Event()

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first\n")
        await request.app[STOPPING].wait()
        seen.set()
        return response

    async def compose(service: Service) -> None:
        service.listen(Listener("http", app_with(("/stream", stream)), Tcp("127.0.0.1", 0)))

    async with aiohttp.ClientSession() as session:
        async with Service("t", compose, grace_s=30).running() as urls:
            response = await session.get(urls["http"] + "/stream")
            assert await response.content.readline() == b"first\n"
        assert await response.content.read() == b""
    assert seen.is_set()


async def test_a_task_that_dies_is_counted_and_restarted_after_a_growing_wait() -> None:
    clock = VirtualClock()
    starts: list[float] = []

    async def dies() -> None:
        starts.append(clock.monotonic_s())
        raise RuntimeError("again")

    async def compose(service: Service) -> None:
        service.background("feed", dies)

    service = Service("t", compose, clock=clock)
    async with service.running():
        await clock.advance(4)
        assert starts == [0.0, 0.5, 1.5, 3.5]
    assert b'lowtide_background_deaths_total{task="feed"} 4.0' in service.metrics.exposition()


async def test_a_task_that_must_not_die_ends_the_service_with_code_1() -> None:
    async def dies() -> None:
        raise RuntimeError("fatal")

    async def compose(service: Service) -> None:
        service.background("keeper", dies, OnDeath.END)

    assert await Service("t", compose).serve() == 1


async def test_a_service_that_still_waits_for_something_can_be_stopped() -> None:
    closed: list[str] = []

    async def compose(service: Service) -> None:
        async def close() -> None:
            closed.append("first")

        service.on_close(close)
        asyncio.get_running_loop().call_later(0.01, service.stop)
        await asyncio.Event().wait()

    assert await Service("t", compose).serve() == 0
    assert closed == ["first"]


async def test_an_error_while_composing_leaves_serve() -> None:
    async def compose(service: Service) -> None:
        raise ChassisError("no database")

    with pytest.raises(ChassisError, match="no database"):
        await Service("t", compose).serve()


async def test_a_task_that_returns_is_done() -> None:
    ran: list[int] = []

    async def once() -> None:
        ran.append(1)

    async def compose(service: Service) -> None:
        service.background("once", once)

    clock = VirtualClock()
    async with Service("t", compose, clock=clock).running():
        await clock.advance(100)
    assert ran == [1]


async def test_readiness_names_each_check_and_is_false_while_stopping() -> None:
    health = Health("t", check_timeout_s=0.01)

    async def fine() -> str:
        return "3 rows"

    async def missing() -> None:
        raise NotReady("no world yet")

    async def stuck() -> None:
        await asyncio.Event().wait()

    health.add_check("records", fine)
    assert (await health.readiness()).ready
    health.add_check("world", missing)
    health.add_check("disk", stuck)
    found = await health.readiness()
    assert not found.ready
    assert found.checks["records"].detail == "3 rows"
    assert found.checks["world"].detail == "no world yet"
    assert "did not answer" in found.checks["disk"].detail
    health.stopping()
    assert "stopping" in (await health.readiness()).checks


def test_log_lines_are_json_and_never_hold_a_secret() -> None:
    out = io.StringIO()
    logs.configure("box", "info", out)
    logs.get_logger("t").info("request", path="/~eyJhbGciOi.x.y/media/a", Authorization="Bearer abc", status=200)
    import logging

    logging.getLogger("aiohttp.server").warning("odd %s", "/~eyJhbGciOi.x.y/media/b")
    logs.get_logger("t").debug("not shown")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["event"], first["service"], first["level"]) == ("request", "box", "info")
    assert "eyJ" not in out.getvalue()
    assert "abc" not in out.getvalue()
    assert second["logger"] == "aiohttp.server"
    assert logs.redact_headers({"Authorization": "x", "Referer": "https://h/~tok/x"}) == {
        "Authorization": "[redacted]",
        "Referer": "https://h/~[redacted]/x",
    }


SCRIPT = """
import sys
from chassis.command import serve
from chassis.metrics import Metrics
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app
from dataclasses import dataclass
from typing import Annotated
from pathlib import Path
from typing_extensions import Doc

@dataclass(frozen=True)
class Settings:
    port: Annotated[int, Doc("Port.")] = 0

async def compose(service, settings):
    app = build_app(Routes("t"), metrics=service.metrics, health=service.health)
    service.listen(Listener("http", app, Tcp("127.0.0.1", settings.port)))

sys.exit(serve("box", Settings, compose, config=None, ready_fd=int(sys.argv[1])))
"""


def test_a_real_process_says_when_it_is_ready_and_ends_with_0_on_sigterm() -> None:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(writing)], pass_fds=[writing], stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    with os.fdopen(reading) as pipe:
        line = pipe.readline()
    assert json.loads(line)["listening"]["http"].startswith("http://127.0.0.1:")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=10)
    assert process.returncode == 0, errors
    assert all(json.loads(row)["service"] == "box" for row in errors.splitlines())


def test_wrong_settings_end_a_process_with_2_and_one_line_each() -> None:
    environ = {**os.environ, "LOWTIDE_BOX_PORT": "many", "LOWTIDE_BOX_PROT": "1"}
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, "1"], env=environ, capture_output=True, text=True, timeout=20, check=False
    )
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    assert 'prot: is not a setting; did you mean "port"?' in process.stderr
    assert "port: input should be a valid integer" in process.stderr


def test_pydantic_and_sqlalchemy_are_not_imported_by_a_service() -> None:
    code = "import chassis.command, sys; print([m for m in ('pydantic', 'sqlalchemy') if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert process.stdout.strip() == "[]"


def test_a_metric_without_our_prefix_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="lowtide_"):
        Metrics("t", process=False).counter("requests_total", "x")
    assert msgspec.json.encode(1) == b"1"
