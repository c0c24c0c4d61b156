"""All the doors of a whole appliance: plain, TLS, IPv6 and Unix sockets; what its status says of them; certificates loaded on SIGUSR1."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import ssl
import stat
import sys
import time
from pathlib import Path

import httpx
import msgspec
import pytest

from chassis.clock import VirtualClock
from oca.cli import tls_rows, transport_words
from oca.config import Listener, PlayerTls
from oca.link.files import CertificateStatus, Listening, TlsStatus
from oca.link.handover import TlsHandover
from oca.link.tickets import TicketKeys
from oca.supervisor.sockets import CannotListen, facts_of, open_further
from oca.supervisor.tls import SharedTls, why_no_door, why_no_kernel_tls
from tests.oca.supervisor.box import FILE, Box, box, settings_of, stock
from tests.oca.worker.tls_harness import Issuer


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


def listening_of(found: Box) -> Listening:
    path = Path(found.settings.state_dir, "run", "listening.json")
    return msgspec.json.decode(path.read_bytes(), type=Listening)


def tls_of(found: Box, wanted: str = "") -> TlsStatus:
    """The status file, once `wanted` stands in it."""
    path = Path(found.settings.state_dir, "run", "tls.json")
    deadline = time.monotonic() + 30
    while not path.exists() or wanted not in path.read_text():
        assert time.monotonic() < deadline, f"no word of {wanted!r}"
        time.sleep(0.02)
    return msgspec.json.decode(path.read_bytes(), type=TlsStatus)


def ask_unix(found: Box, path: str, first: int, last: int) -> bytes:
    connection = UnixConnection(path)
    target = f"/~{found.keys.token()}{FILE.name.path}"
    connection.request("GET", target, headers={"Range": f"bytes={first}-{last}"})
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    assert reply.status == 206, body
    return body


async def test_every_door_leads_to_the_same_bytes_and_all_are_named(tmp_path: Path) -> None:
    issuer = Issuer()
    certificate = issuer.write(tmp_path / "certs", "play", "localhost", "127.0.0.1", "::1")
    path = str(tmp_path / "media.sock")
    listeners = (
        Listener("127.0.0.1", tls=True),
        Listener("::1"),
        Listener("::1", tls=True),
        Listener(path=path),
    )
    settings = settings_of(tmp_path, listeners=listeners, tls=PlayerTls((certificate,)))
    with box(settings, tmp_path, stock(settings, [FILE])) as found:
        listening = listening_of(found)
        schemes = [url.rpartition(":")[0] for url in listening.further[:3]]
        assert schemes == ["https://127.0.0.1", "http://[::1]", "https://[::1]"]
        assert listening.further[3] == f"unix:{path}"
        target = f"/~{found.keys.token()}{FILE.name.path}"
        async with httpx.AsyncClient(timeout=20, verify=issuer.trusting()) as client:
            for base in (listening.media, *listening.further[:3]):
                reply = await client.get(base + target, headers={"Range": "bytes=7-1000006"})
                assert (reply.status_code, reply.content) == (206, FILE.data[7:1000007]), base
        assert ask_unix(found, path, 7, 1000006) == FILE.data[7:1000007]
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
        status = tls_of(found)
        assert status.openssl == ssl.OPENSSL_VERSION
        assert status.certificates[0].names == ("localhost",)
        assert status.kernel == (why_no_kernel_tls() == "")
        assert status.kernel_reason == why_no_kernel_tls()
        assert await found.metric('lowtide_oca_tls_handshakes_total{end="full"}') == 2
        assert await found.metric("lowtide_oca_tls_certificate_expires_seconds") == status.certificates[0].expires_at
        assert await found.metric("lowtide_oca_tls_resumes") == 2 * status.resumption
    assert not os.path.exists(path), "the path goes with the appliance"


async def test_a_unix_socket_is_served_while_its_workers_die(tmp_path: Path) -> None:
    path = str(tmp_path / "media.sock")
    settings = settings_of(tmp_path, listeners=(Listener(path=path),))
    with box(settings, tmp_path, stock(settings, [FILE])) as found:
        for turn in range(6):
            if turn % 2:
                os.kill(found.children("oca.worker")[0], signal.SIGKILL)
                await asyncio.sleep(0.2)  # a connection that a dying worker has taken is its own loss
            assert ask_unix(found, path, turn, 999 + turn) == FILE.data[turn : 1000 + turn]


async def test_sigusr1_loads_certificates_at_every_worker(tmp_path: Path) -> None:
    issuer = Issuer()
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    settings = settings_of(
        tmp_path, listeners=(Listener("127.0.0.1", tls=True),), tls=PlayerTls((certificate,)), hosts=("play.test",)
    )
    with box(settings, tmp_path, stock(settings, [FILE])) as found:
        tls_of(found, "play.test")
        issuer.write(tmp_path / "certs", "play", "play.test", "renewed.test")
        found.process.send_signal(signal.SIGUSR1)
        tls_of(found, "renewed.test")
        assert found.process.poll() is None
        assert len(found.children("oca.worker")) == 2


async def test_a_later_generation_takes_the_path_of_a_unix_socket_and_no_file_that_is_none(tmp_path: Path) -> None:
    at = Listener(path=str(tmp_path / "s"))
    older, newer = open_further(at, 2), open_further(at, 2)
    assert older.sockets[0] is older.sockets[1]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(at.path)
        newer.sockets[0].setblocking(True)
        newer.sockets[0].accept()[0].close()
    older.close()
    assert os.path.exists(at.path), "it belongs to the newer one"
    newer.close()
    assert not os.path.exists(at.path)
    (tmp_path / "s").write_text("mine")
    with pytest.raises(CannotListen, match="exists and is no socket"):
        open_further(at, 1)
    assert (tmp_path / "s").read_text() == "mine"


def test_what_helps_large_answers_is_set_on_every_tcp_listener() -> None:
    for host in ("127.0.0.1", "::1"):
        opened = open_further(Listener(host, tls=True), 2)
        names = {facts_of(sock) for sock in opened.sockets}
        opened.close()
        assert len(names) == 1
        name, low = names.pop()
        assert low == 128 * 1024
        available = Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split()
        assert name == ("bbr" if "bbr" in available else name)
        assert name


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended with code -11"),
        ("print('linked into Python'); raise SystemExit(1)", "linked into Python"),
        ("raise SystemExit(0)", ""),
    ],
)
async def test_a_library_that_kills_who_touches_it_is_never_touched(program: str, said: str) -> None:
    assert (await why_no_door((sys.executable, "-c", program))).endswith(said)


async def test_a_probe_that_cannot_be_started_says_no() -> None:
    assert "could not be tried" in await why_no_door(("/nonexistent/python",))


async def test_the_real_probe_agrees_with_what_the_worker_finds() -> None:
    assert await why_no_door((sys.executable, "-m", "oca.worker.openssl")) == ""


def test_kernel_tls_is_asked_of_the_kernel_and_its_absence_has_a_reason() -> None:
    reason = why_no_kernel_tls()
    if not Path("/sys/module/tls").exists():
        assert "tls" in reason
    elif sys.version_info < (3, 12):
        assert "3.12" in reason
    else:
        assert reason == ""


async def test_ticket_keys_are_rotated_when_their_life_has_passed() -> None:
    clock = VirtualClock()
    keys = TicketKeys.create()
    shared = SharedTls(keys, TlsHandover(keys.fd), 60.0, clock.monotonic_s() + 60.0)
    first = keys.read()
    assert first is not None
    assert not shared.rotate_when_due(clock.monotonic_s() + 59.0)
    assert keys.read() == first
    assert shared.rotate_when_due(clock.monotonic_s() + 60.0)
    second = TicketKeys.attach(os.dup(keys.fd)).read()
    assert second is not None
    assert (second[0], second[1] != first[1]) == (first[0] + 1, True)
    assert not shared.rotate_when_due(clock.monotonic_s() + 119.0)
    assert shared.rotate_when_due(clock.monotonic_s() + 120.0)
    os.pwrite(keys.fd, b"torn", 20)
    assert keys.read() is None, "keys that are being written are not read"
    keys.close()


def test_the_status_says_how_bytes_are_encrypted_and_what_is_wrong() -> None:
    good = CertificateStatus("/c/a.crt", ("a.test", "*.b.test"), 1_000_000.0 + 86400 * 12.5)
    bad = CertificateStatus("/c/b.crt", problem="/c/b.key is not the key of /c/b.crt")
    rows = tls_rows(TlsStatus("OpenSSL 3", False, "no module", False, "static", (good, bad)), 1_000_000.0)
    assert rows == {
        "TLS": "OpenSSL 3, encrypted in user space: no module",
        "TLS sessions": "resume nowhere but where they began: static",
        "certificate 1": "a.test, *.b.test: 12.5 days left",
        "certificate 2": "/c/b.crt: not in use; /c/b.key is not the key of /c/b.crt",
    }
    assert "kernel" in tls_rows(TlsStatus("OpenSSL 3", True, "", True, ""), 0.0)["TLS"]
    words = transport_words(Listening("http://a", "https://b", "http://c", (), (), "bbr", 131072))
    assert words == "bbr congestion control, at most 131072 unsent bytes per connection in the kernel"
