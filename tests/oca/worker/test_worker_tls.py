"""Players over TLS: the right bytes, the right certificate, sessions that resume at any worker, nothing dropped by a reload."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import aiofastnet
import pytest

from oca.config import PlayerTls, PublicNames
from oca.http.reasons import Closing, Handshake
from oca.link.counters import Count
from oca.worker.player_tls import PlayerCertificates
from tests.oca.worker.tls_harness import DAY_S, FILE, Issuer, Player, TlsBench, tls_bench

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def bench(tmp_path: Path, issuer: Issuer) -> Iterator[TlsBench]:
    certificates = (
        issuer.write(tmp_path / "certs", "play", "play.test"),
        issuer.write(tmp_path / "certs", "wild", "*.wild.test", "other.test"),
    )
    with tls_bench(tmp_path / "box", *certificates, issuer=issuer) as found:
        found.start()
        yield found


@pytest.fixture
def two(tmp_path: Path, issuer: Issuer) -> Iterator[TlsBench]:
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    with tls_bench(tmp_path / "box", certificate, issuer=issuer, workers=2) as found:
        found.start(0)
        found.start(1)
        yield found


def reaches(bench: TlsBench, row: Count | Handshake, number: int) -> None:
    deadline = time.monotonic() + 30
    while (found := bench.bench.counters.total(row)) != number:
        assert time.monotonic() < deadline, f"{row} stays at {found}, not {number}"
        time.sleep(0.01)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_player_gets_the_bytes_it_asked_for(bench: TlsBench, version: ssl.TLSVersion) -> None:
    with bench.connect(context=bench.issuer.trusting(version)) as player:
        assert player.sock.version() == {VERSIONS[0]: "TLSv1.2", VERSIONS[1]: "TLSv1.3"}[version]
        assert player.sock.selected_alpn_protocol() == "http/1.1"
        assert player.ask(5, 104) == 206
        assert player.ask(1000, 2_400_000) == 206
        assert player.ask(0, len(FILE.data) - 1) == 206
    reaches(bench, Handshake.FULL, 1)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1:DeprecationWarning")
def test_older_versions_and_weak_ciphers_are_refused(bench: TlsBench) -> None:
    old = bench.issuer.trusting()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    cbc = bench.issuer.trusting(ssl.TLSVersion.TLSv1_2)
    cbc.set_ciphers("ECDHE-ECDSA-AES128-SHA256")
    for context in (old, cbc):
        with pytest.raises(OSError):
            bench.connect(context=context)
    reaches(bench, Handshake.REFUSED, 2)


def test_a_slow_reader_gets_all_of_a_body(bench: TlsBench) -> None:
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    raw.connect(bench.address())
    with Player(bench, bench.issuer.trusting().wrap_socket(raw, server_hostname="play.test")) as player:
        for _ in range(3):
            assert player.ask(0, len(FILE.data) - 1) == 206


def test_a_host_that_is_not_served_is_misdirected_over_tls_too(bench: TlsBench) -> None:
    with bench.connect() as player:
        assert player.ask(host="elsewhere.test") == 421
        assert player.ask() == 206


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("play.test", "play.test"),
        ("other.test", "other.test"),
        ("a.wild.test", "*.wild.test"),
    ],
)
def test_the_certificate_is_that_of_the_name_asked_for(bench: TlsBench, asked: str, shown: str) -> None:
    with bench.connect(asked) as player:
        assert shown in player.names
        assert player.ask() == 206


def test_who_asks_for_no_name_or_another_is_shown_the_first_certificate(bench: TlsBench) -> None:
    context = bench.issuer.trusting()
    context.check_hostname = False
    for name in ("", "b.a.wild.test", "wild.test", "nobody.test"):
        raw = socket.create_connection(bench.address(), 10)
        with Player(bench, context.wrap_socket(raw, server_hostname=name or None)) as player:
            assert player.names == {"play.test"}, name
            assert player.ask() == 206


def test_a_hello_in_pieces_is_waited_for(bench: TlsBench) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = bench.issuer.trusting().wrap_bio(incoming, outgoing, server_hostname="other.test")
    with socket.create_connection(bench.address(), 10) as raw, pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(bench.address(), 10) as raw:
        hello = outgoing.read()
        for piece in (hello[:3], hello[3:50], hello[50:-1], hello[-1:]):
            raw.sendall(piece)
            time.sleep(0.02)
        while True:
            incoming.write(raw.recv(65536))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                continue
        found = tls.getpeercert()
    assert found is not None
    assert ("DNS", "other.test") in found["subjectAltName"]


def test_what_is_no_tls_is_refused_and_counted(bench: TlsBench) -> None:
    for garbage in (b"GET / HTTP/1.1\r\nHost: play.test\r\n\r\n", b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00"):
        with socket.create_connection(bench.address(), 10) as raw:
            raw.sendall(garbage)
            raw.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                while raw.recv(4096):
                    pass
    socket.create_connection(bench.address(), 10).close()
    reaches(bench, Handshake.REFUSED, 2)
    reaches(bench, Handshake.CLIENT_LEFT, 1)
    with bench.connect() as player:
        assert player.ask() == 206


def test_a_new_certificate_is_shown_at_once_and_drops_no_connection(bench: TlsBench, tmp_path: Path) -> None:
    context = bench.issuer.trusting()
    context.check_hostname = False
    with bench.connect(context=context) as before:
        assert before.ask() == 206
        bench.issuer.write(tmp_path / "certs", "play", "play.test", "new.test")
        bench.workers[0].status("new.test")
        with bench.connect("new.test") as after:
            assert after.names == {"play.test", "new.test"}
            assert after.ask() == 206
        assert before.ask(0, 2_000_000) == 206


def test_a_broken_new_certificate_keeps_the_old_and_is_named(bench: TlsBench, tmp_path: Path) -> None:
    worker, cert, key = bench.workers[0], tmp_path / "certs" / "play.crt", tmp_path / "certs" / "play.key"
    right, right_key = cert.read_bytes(), key.read_bytes()
    worker.status()
    for path, content, said in (
        (cert, b"rubbish", f"{cert} holds no certificate in PEM form"),
        (cert, right, ""),
        (key, (tmp_path / "certs" / "wild.key").read_bytes(), f"{key} is not the key of {cert}"),
        (key, right_key, ""),
    ):
        path.write_bytes(content)
        status = worker.status(said or '"problem":""},')
        assert status.certificates[0].names == ("play.test",)
        assert status.certificates[0].problem.startswith(said)
        reaches(bench, Count.CERTIFICATES_REFUSED, int(bool(said)))
        with bench.connect() as player:
            assert player.names == {"play.test"}
    key.unlink()
    assert "No such file" in worker.status("No such file").certificates[0].problem
    with bench.connect() as player:
        assert player.ask() == 206


def test_a_new_certificate_that_has_expired_does_not_replace_a_valid_one(bench: TlsBench, tmp_path: Path) -> None:
    bench.issuer.write(tmp_path / "certs", "play", "play.test", days=1, ago_s=3 * DAY_S)
    assert "has expired" in bench.workers[0].status("has expired").certificates[0].problem
    with bench.connect() as player:
        assert player.ask() == 206


def test_the_end_of_the_first_certificate_is_a_figure(tmp_path: Path, issuer: Issuer) -> None:
    certificates = [issuer.write(tmp_path / "certs", f"c{days}", f"c{days}.test", days=days) for days in (20, 10, 30)]
    with tls_bench(tmp_path / "box", *certificates, issuer=issuer) as bench:
        status = bench.start().status()
        assert abs(bench.bench.counters.total(Count.CERTIFICATE_EXPIRES) - (time.time() + 10 * DAY_S)) < DAY_S
        assert [one.names for one in status.certificates] == [("c20.test",), ("c10.test",), ("c30.test",)]


def test_a_folder_is_read_in_the_order_of_its_names_and_may_grow(tmp_path: Path, issuer: Issuer) -> None:
    folder = tmp_path / "certs"
    issuer.write(folder, "b", "b.test")
    with tls_bench(tmp_path / "box", issuer=issuer, cert_folder=str(folder)) as bench:
        worker = bench.start()
        issuer.write(folder, "a", "a.test")
        status = worker.status("a.test")
        assert [one.names for one in status.certificates] == [("a.test",), ("b.test",)]
        for name in ("a.test", "b.test"):
            with bench.connect(name) as player:
                assert player.names == {name}


def test_without_any_certificate_players_are_turned_away_until_there_is_one(tmp_path: Path, issuer: Issuer) -> None:
    folder = tmp_path / "certs"
    with tls_bench(tmp_path / "box", issuer=issuer, cert_folder=str(folder)) as bench:
        worker = bench.start()
        assert "cannot be read" in worker.status("cannot be read").certificates[0].problem
        with pytest.raises(OSError):
            bench.connect()
        reaches(bench, Handshake.NO_CERTIFICATE, 1)
        issuer.write(folder, "play", "play.test")
        worker.status("play.test")
        with bench.connect() as player:
            assert player.ask() == 206


def put_public_name(bench: TlsBench, issuer: Issuer, folder: Path, name: str, days: float = 30.0) -> None:
    """Key and chain in one file, put in place whole, as the keeper does."""
    files = issuer.write(folder, name, name, days=days)
    inside = Path(bench.bench.settings.state_dir) / "names"
    inside.mkdir(exist_ok=True)
    (inside / ".new").write_bytes(Path(files.key).read_bytes() + Path(files.cert).read_bytes())
    (inside / ".new").rename(inside / f"{name}.pem")


def test_the_public_name_is_served_at_any_port_once_its_certificate_is_there_and_renewed_without_a_drop(
    tmp_path: Path, issuer: Issuer
) -> None:
    names = PublicNames(managed=True)
    with tls_bench(tmp_path / "box", issuer=issuer, hosts=(), names=names) as bench:
        worker = bench.start()
        with pytest.raises(OSError):
            bench.connect("a1.cdn.test")
        put_public_name(bench, issuer, tmp_path / "certs", "a1.cdn.test")
        first = worker.status("a1.cdn.test").certificates[0]
        with bench.connect("a1.cdn.test") as player:
            assert [player.ask(host=host) for host in ("a1.cdn.test", "a1.cdn.test:8443", "a2.cdn.test")] == [
                206,
                206,
                421,
            ]
            assert player.ask(host=f"127.0.0.1:{bench.address()[1]}") == 206
            put_public_name(bench, issuer, tmp_path / "certs", "a1.cdn.test", days=60.0)
            assert worker.status("a1.cdn.test").certificates[0].expires_at > first.expires_at
            assert player.ask(0, 2_000_000, host="a1.cdn.test") == 206


def session_from(bench: TlsBench, context: ssl.SSLContext, slot: int) -> ssl.SSLSession:
    """A session of one full handshake, after the answer: TLS 1.3 sends its tickets behind the handshake."""
    with bench.connect(slot=slot, context=context) as player:
        assert player.ask() == 206
        assert not player.sock.session_reused
        session = player.sock.session
    assert session is not None
    return session


def is_resumed(bench: TlsBench, context: ssl.SSLContext, slot: int, session: ssl.SSLSession) -> bool:
    with bench.connect(slot=slot, context=context, session=session) as player:
        assert player.ask(10, 200_000) == 206
        return bool(player.sock.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_of_one_worker_resumes_at_another(two: TlsBench, version: ssl.TLSVersion) -> None:
    context = two.issuer.trusting(version)
    session = session_from(two, context, 0)
    assert is_resumed(two, context, 1, session)
    reaches(two, Handshake.RESUMED, 1)
    assert two.workers[1].status().resumption
    assert two.bench.counters.total(Count.TLS_RESUMES) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_outlives_the_worker_that_began_it(two: TlsBench, version: ssl.TLSVersion) -> None:
    context = two.issuer.trusting(version)
    session = session_from(two, context, 0)
    two.workers[0].kill()
    assert is_resumed(two, context, 1, session)
    two.start(0)
    assert is_resumed(two, context, 0, session_from(two, context, 1))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_outlives_a_renewed_certificate(two: TlsBench, version: ssl.TLSVersion, tmp_path: Path) -> None:
    context = two.issuer.trusting(version)
    session = session_from(two, context, 0)
    two.issuer.write(tmp_path / "certs", "play", "play.test", "renewed.test")
    two.workers[1].status("renewed.test")
    assert is_resumed(two, context, 1, session)


@pytest.mark.parametrize("version", VERSIONS)
def test_after_a_rotation_of_the_keys_sessions_begin_anew_without_failing(
    two: TlsBench, version: ssl.TLSVersion
) -> None:
    context = two.issuer.trusting(version)
    session = session_from(two, context, 0)
    two.keys.rotate()
    deadline = time.monotonic() + 30
    while is_resumed(two, context, 1, session):
        assert time.monotonic() < deadline, "the old keys are still used"
        time.sleep(0.05)
    while not is_resumed(two, context, 1, session_from(two, context, 0)):
        assert time.monotonic() < deadline, "the new keys are not the same at both workers"
        time.sleep(0.05)


def test_where_the_library_cannot_be_reached_sessions_begin_anew_and_the_status_says_why(
    tmp_path: Path, issuer: Issuer
) -> None:
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    with tls_bench(
        tmp_path / "box", certificate, issuer=issuer, workers=2, tickets_reason="linked into Python"
    ) as bench:
        status = bench.start(0).status()
        bench.start(1)
        assert (status.resumption, status.resumption_reason) == (False, "linked into Python")
        context = issuer.trusting()
        assert not is_resumed(bench, context, 1, session_from(bench, context, 0))
        assert bench.bench.counters.total(Count.TLS_RESUMES) == 0


def test_where_no_connection_fits_a_handshake_is_not_begun(tmp_path: Path, issuer: Issuer) -> None:
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    with tls_bench(tmp_path / "box", certificate, issuer=issuer, max_connections=1) as bench:
        bench.start()
        with pytest.raises(OSError):
            bench.connect()
        reaches(bench, Handshake.FULL_HOUSE, 1)


def test_files_are_loaded_again_when_the_supervisor_says_so(bench: TlsBench, tmp_path: Path) -> None:
    """A file that looks unchanged (same times, size and inode) is loaded by the word alone."""
    worker, cert = bench.workers[0], tmp_path / "certs" / "play.crt"
    worker.status()
    right = cert.read_bytes()
    stat = cert.stat()
    with cert.open("r+b") as file:
        file.write(right[:40] + b"!" + right[41:])
        file.flush()
        os.utime(cert, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    worker.control.sendall(b"reload\n")
    assert worker.status("holds no certificate").certificates[0].problem


def test_a_unix_socket_speaks_tls_too(tmp_path: Path, issuer: Issuer) -> None:
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    with tls_bench(tmp_path / "box", certificate, issuer=issuer, unix=tmp_path / "s", unix_tls=True) as bench:
        bench.start()
        raw = socket.socket(socket.AF_UNIX)
        raw.settimeout(10)
        raw.connect(str(tmp_path / "s"))
        with Player(bench, issuer.trusting().wrap_socket(raw, server_hostname="play.test")) as player:
            assert player.ask(100, 2_000_000) == 206


def test_a_reader_at_a_unix_socket_is_dropped_when_it_stops_and_not_while_it_reads(
    tmp_path: Path, issuer: Issuer
) -> None:
    certificate = issuer.write(tmp_path / "certs", "play", "play.test")
    with tls_bench(tmp_path / "box", certificate, issuer=issuer, unix=tmp_path / "s", send_timeout_s=2.0) as bench:
        bench.start()
        request = f"GET {bench.bench.path(FILE)} HTTP/1.1\r\nHost: play.test\r\n\r\n".encode()
        readers = []
        for _ in range(2):
            readers.append(socket.socket(socket.AF_UNIX))
            readers[-1].settimeout(20)
            readers[-1].connect(str(tmp_path / "s"))
            readers[-1].sendall(request)
        steady, _stopped = readers
        got = bytearray()
        for _ in range(40):  # four seconds: twice the patience
            got += steady.recv(16 * 1024)
            time.sleep(0.1)
        while len(got) < len(FILE.data):
            more = steady.recv(1 << 20)
            assert more, "the steady reader was dropped"
            got += more
        assert bytes(got).endswith(FILE.data[-1000:])
        deadline = time.monotonic() + 20
        while not bench.bench.counters.total(Closing.SEND_TIMEOUT):
            assert time.monotonic() < deadline, "the reader that stopped is still served"
            time.sleep(0.05)
        for reader in readers:
            reader.close()


async def test_a_connection_has_no_buffers_of_the_transport(tmp_path: Path, issuer: Issuer) -> None:
    """The switch is one that the transport keeps for its own tests: a later version may drop it, and memory would tell too late."""
    files = issuer.write(tmp_path, "play", "play.test")
    certificates = PlayerCertificates(PlayerTls((files,)), None, "not shared in this test", "no kernel TLS")
    certificates.poll(time.time())
    context = certificates.context_for("play.test")
    assert context is not None
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    client = asyncio.to_thread(issuer.trusting().wrap_socket, theirs, server_hostname="play.test")
    shaking = asyncio.ensure_future(client)
    transport, _protocol = await aiofastnet.connect_accepted_socket(loop, asyncio.Protocol, ours, ssl=context)
    assert not transport.get_extra_info("ssl_outgoing_use_membio")
    assert not transport.get_extra_info("ssl_incoming_use_membio")
    transport.abort()
    (await shaking).close()
