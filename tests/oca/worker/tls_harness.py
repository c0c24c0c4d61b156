"""Real workers that serve players over TLS: certificates made for the test, a listener per worker, clients of the standard library."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from chassis.certificates import PrivateKey, key_to_pem, make_ca, make_csr, make_key, sign_csr
from oca.config import Certificate, Listener, PlayerTls, Serving
from oca.link.files import TlsStatus
from oca.link.handover import FurtherFds, Handover, TlsHandover, write_handover
from oca.link.tickets import TicketKeys
from tests.oca.worker.worker_harness import Bench, Published, publish

FILE = publish("v-tls.mp4", 2_500_000)
DAY_S = 86400.0


class Issuer:
    """A certificate authority that clients of the test trust."""

    def __init__(self) -> None:
        self._key: PrivateKey = make_key()
        self.pem = make_ca(self._key, "test players", time.time())

    def write(self, folder: Path, stem: str, *names: str, days: float = 30.0, ago_s: float = 0.0) -> Certificate:
        """A certificate for host names as `folder/stem.crt` and `stem.key`, put in place whole."""
        key = make_key()
        uri = f"lowtide://test/{stem}"
        pem = sign_csr(
            make_csr(key, uri),
            ca_pem=self.pem,
            ca_key=self._key,
            uri=uri,
            addresses=names,
            now=time.time() - ago_s,
            days=days,
        )
        folder.mkdir(exist_ok=True)
        files = Certificate(str(folder / f"{stem}.crt"), str(folder / f"{stem}.key"))
        for path, content in ((files.key, key_to_pem(key)), (files.cert, pem.encode())):
            Path(f"{path}.new").write_bytes(content)
            os.replace(f"{path}.new", path)
        return files

    def trusting(self, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self.pem)
        context.set_alpn_protocols(["h2", "http/1.1"])
        if version is not None:
            context.minimum_version = context.maximum_version = version
        return context


@dataclass
class WorkerEnd:
    """A worker process and the supervisor's end of its control line."""

    process: subprocess.Popen[bytes]
    control: socket.socket
    words: bytes = b""

    def status(self, wanted: str = "") -> TlsStatus:
        """What it says of TLS: the next status in which `wanted` stands."""
        deadline = time.monotonic() + 30
        while True:
            *lines, self.words = self.words.split(b"\n")
            for line in lines:
                if line.startswith(b"tls ") and wanted.encode() in line:
                    return msgspec.json.decode(line[4:], type=TlsStatus)
            assert time.monotonic() < deadline, f"no word of {wanted!r}"
            self.words += self.control.recv(65536)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.control.close()


@dataclass
class TlsBench:
    """One store, several workers, each with a TLS listener of its own, so that a test chooses who answers."""

    bench: Bench
    issuer: Issuer
    handover: TlsHandover
    keys: TicketKeys
    ports: list[socket.socket] = field(default_factory=list)
    unix: socket.socket | None = None
    unix_tls: bool = False
    workers: dict[int, WorkerEnd] = field(default_factory=dict)

    def start(self, slot: int = 0) -> WorkerEnd:
        ours, theirs = socket.socketpair()
        bench = self.bench
        own = tuple(sock.fileno() for sock in self.ports)
        further = [FurtherFds(own, tls=True)]
        if self.unix is not None:
            further.append(FurtherFds((self.unix.fileno(),) * len(own), self.unix_tls, shared=True))
        # The plain listeners are the same for every slot: nothing here asks them.
        media, peers = (bench.media.fileno(),) * len(own), (bench.peers.fileno(),) * len(own)
        handover = Handover(
            bench.settings,
            slot,
            bench.board.fd,
            bench.counters.fd,
            theirs.fileno(),
            media,
            peers,
            slot,
            further=tuple(further),
            tls=self.handover,
        )
        fd = write_handover(handover)
        inherited = {fd, bench.board.fd, bench.counters.fd, theirs.fileno(), media[0], peers[0], *own}
        inherited |= {number for one in further for number in one.fds} | {self.keys.fd}
        with bench.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "oca.worker", "--handover-fd", str(fd)], pass_fds=tuple(inherited), stderr=log
            )
        os.close(fd)
        theirs.close()
        ours.settimeout(20)
        end = self.workers[slot] = WorkerEnd(process, ours)
        while b"ready\n" not in end.words:
            more = ours.recv(65536)
            assert more, bench.log.read_text()
            end.words += more
        return end

    def address(self, slot: int = 0) -> tuple[str, int]:
        host, port = self.ports[slot].getsockname()[:2]
        return host, port

    def connect(
        self,
        name: str = "play.test",
        slot: int = 0,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> Player:
        raw = socket.create_connection(self.address(slot), 10)
        return Player(self, (context or self.issuer.trusting()).wrap_socket(raw, server_hostname=name, session=session))

    def stop(self) -> None:
        for end in self.workers.values():
            end.kill()
        for sock in (*self.ports, *((self.unix,) if self.unix is not None else ())):
            sock.close()
        self.keys.close()
        self.bench.stop()


class Player:
    """A TLS connection whose every body is compared with what was published."""

    def __init__(self, bench: TlsBench, sock: ssl.SSLSocket) -> None:
        self.bench = bench
        self.sock = sock

    def ask(self, first: int = 0, last: int = 99, host: str = "play.test", file: Published = FILE) -> int:
        """The status; a body of other bytes than those asked for is an error."""
        path = self.bench.bench.path(file)
        self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nRange: bytes={first}-{last}\r\n\r\n".encode())
        reply = http.client.HTTPResponse(self.sock)
        reply.begin()
        body = reply.read()
        assert reply.status != 206 or body == file.data[first : last + 1], "other bytes than those asked for"
        return reply.status

    @property
    def names(self) -> set[str]:
        """The host names in the certificate that was shown."""
        found = self.sock.getpeercert()
        assert found is not None
        return {str(entry[1]) for entry in found["subjectAltName"] if entry[0] == "DNS"}

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_error: object) -> None:
        self.sock.close()


def unix_listener(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(128)
    return sock


def tcp_listener(host: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((host, 0))
    sock.listen(128)
    return sock


@contextlib.contextmanager
def tls_bench(
    folder: Path,
    *certificates: Certificate,
    issuer: Issuer,
    workers: int = 1,
    tickets_reason: str = "",
    cert_folder: str = "",
    hosts: tuple[str, ...] = ("play.test",),
    unix: Path | None = None,
    unix_tls: bool = False,
    **serving: object,
) -> Iterator[TlsBench]:
    """A bench with the file stored and no worker started; stopped at the end."""
    settings = Serving(
        workers=workers,
        hosts=hosts,
        listeners=(Listener("127.0.0.1", tls=True),),
        tls=PlayerTls(certificates, cert_folder),
        **serving,  # type: ignore[arg-type]
    )
    bench = Bench(folder, settings, workers=workers)
    keys = TicketKeys.create()
    handover = TlsHandover(keys.fd, tickets_reason, "not asked for in this test")
    found = TlsBench(bench, issuer, handover, keys, [tcp_listener() for _ in range(workers)])
    if unix is not None:
        found.unix, found.unix_tls = unix_listener(unix), unix_tls
    try:
        bench.store_file(FILE)
        yield found
    finally:
        found.stop()
