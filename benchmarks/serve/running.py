"""The peers as processes: detected, started over one working set, stopped. `peers` says how they are configured."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.serve import peers, processes
from benchmarks.serve.workload import Contents, FileClass, media_name
from oca.config import Certificate
from onebox.ports import free_port

START_S = 15.0


class CannotStart(Exception):
    """A server did not begin to listen; the message holds what it said."""


@dataclass(slots=True)
class Running:
    """A server that listens. `cached` is the folder whose files must be in memory, `is_copy` says that it holds copies of an origin."""

    name: str
    version: str
    configuration: str
    port: int
    processes: Sequence[subprocess.Popen[bytes]]
    cached: Path | None = None
    is_copy: bool = False
    warm_ups: int = 1
    """How often it is to serve everything before it holds it."""
    tls: bool = False
    loggers: Sequence[subprocess.Popen[bytes]] = field(default_factory=tuple)
    """Processes that only write the access log: part of the server's cost, and shown apart."""

    def pids(self) -> list[int]:
        return [pid for process in self.processes for pid in processes.tree(process.pid)]

    def logger_pids(self) -> list[int]:
        return [pid for process in self.loggers for pid in processes.tree(process.pid)]

    def stop(self) -> None:
        for process in (*self.loggers, *self.processes):
            processes.stop(process)


def versions() -> dict[str, str]:
    """Installed peers and their versions as they say them."""
    asked = {"nginx": ["nginx", "-v"], "varnish": ["varnishd", "-V"], "trafficserver": ["traffic_server", "-V"]}
    found = {}
    for name, command in asked.items():
        if shutil.which(command[0]) is not None:
            said = subprocess.run(command, capture_output=True, check=False)
            match = re.search(rb"\d+\.\d+(\.\d+)?", said.stderr + said.stdout)
            found[name] = match[0].decode() if match is not None else "unknown"
    return found


def write_files(root: Path, group: FileClass, contents: Contents) -> None:
    """The working set as plain files below `root`."""
    for file in range(group.files):
        path = root / media_name(group, file).path.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents.of(group, file))


def start_origin(folder: Path, root: Path) -> Running:
    """nginx on the client's core, which fills the caches before the rounds."""
    folder.mkdir()
    ports = peers.Ports(free_port(), free_port(), free_port())
    process = _nginx(folder, peers.nginx_origin(str(folder), ports, str(root)), processes.CLIENT_CORE)
    return listening(Running("origin", "", "", ports.off, [process]), folder)


def start_static(folder: Path, root: Path, version: str, certificate: Certificate) -> list[Running]:
    """The plain ones first, then the one by TLS: one process."""
    folder.mkdir()
    ports = peers.Ports(free_port(), free_port(), free_port())
    tls = peers.nginx_tls(certificate.cert, certificate.key)
    process = _nginx(folder, peers.nginx_static(str(folder), ports, str(root), tls))
    words = "sendfile, open_file_cache, secure_link, buffered access log"
    plain = _twice("nginx-static", version, words, ports, process, root, folder)
    words = f"TLS 1.3, ECDSA P-256, records of 16 KiB, {words.removeprefix('sendfile, ')}"
    return [*plain, listening(Running("nginx-static", version, words, ports.tls, [process], root, tls=True), folder)]


def start_cache(folder: Path, origin: Running, version: str) -> list[Running]:
    folder.mkdir()
    ports, cache = peers.Ports(free_port(), free_port(), free_port()), folder / "stored"
    process = _nginx(folder, peers.nginx_cache(str(folder), ports, str(cache), origin.port))
    words = f"proxy_cache, slice {peers.SLICE}, sendfile, open_file_cache, secure_link, buffered access log"
    return _twice("nginx-cache", version, words, ports, process, cache, folder)


def start_varnish(folder: Path, origin: Running, version: str, memory_mib: int) -> list[Running]:
    folder.mkdir()
    port = free_port()
    vcl = folder / "bench.vcl"
    vcl.write_text(peers.varnish_vcl(origin.port))
    work = folder / "varnish"
    command = peers.varnish_command(str(work), port, str(vcl), memory_mib)
    process = processes.start(command, folder / "log")
    words = f"malloc {memory_mib} MiB, no token check, varnishncsa"
    running = listening(Running("varnish", version, words, port, [process], None, True), folder)
    running.loggers = (processes.start(peers.varnish_log_command(str(work)), folder / "log"),)
    return [running]


def start_trafficserver(folder: Path, origin: Running, version: str, memory_mib: int) -> list[Running]:
    folder.mkdir()
    for name in ("etc", "log", "run", "cache"):
        (folder / name).mkdir()
    port = free_port()
    etc = folder / "etc"
    for source in Path("/etc/trafficserver").iterdir():
        if source.is_file():
            shutil.copy(source, etc / source.name)
    (etc / "records.config").write_text(peers.trafficserver_records(str(folder), port, memory_mib))
    (etc / "remap.config").write_text(peers.trafficserver_remap(origin.port))
    (etc / "storage.config").write_text(f"{folder}/cache {memory_mib}M\n")
    (etc / "logging.yaml").write_text(peers.TRAFFICSERVER_LOGGING)
    (folder / "runroot.yaml").write_text(peers.trafficserver_runroot(str(folder)))
    command = ["traffic_server", f"--run-root={folder}/runroot.yaml"]
    process = processes.start(command, folder / "log.txt", env={"TS_RUNROOT": f"{folder}/runroot.yaml"})
    words = f"RAM cache {memory_mib} MiB, one event thread, cachekey without query, no token check, buffered access log"
    # Its memory cache takes what is read again.
    return [listening(Running("trafficserver", version, words, port, [process], None, True, 2), folder)]


def requests_of(origin: Running) -> int:
    """Requests this origin had to answer so far, this one left out."""
    with urllib.request.urlopen(f"http://127.0.0.1:{origin.port}/status", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return int(lines[2].split()[2])


def _nginx(folder: Path, text: str, core: int = processes.SERVER_CORE) -> subprocess.Popen[bytes]:
    conf = folder / "nginx.conf"
    conf.write_text(text)
    return processes.start(
        ["nginx", "-c", str(conf), "-p", str(folder), "-e", str(folder / "error.log")], folder / "log", core
    )


def listening(running: Running, folder: Path) -> Running:
    """Wait until it accepts. Raises CannotStart; nothing of it is left then."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and all(process.poll() is None for process in running.processes):
        try:
            socket.create_connection(("127.0.0.1", running.port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return running
    running.stop()
    said = "".join(path.read_text(errors="replace")[-2000:] for path in sorted(folder.glob("*log*")) if path.is_file())
    raise CannotStart(f"{running.name} does not listen: {said or 'it said nothing'}")


def _twice(
    name: str,
    version: str,
    words: str,
    ports: peers.Ports,
    process: subprocess.Popen[bytes],
    cached: Path,
    folder: Path,
) -> list[Running]:
    """One nginx as two competitors: `tcp_nopush` off and on."""
    is_copy = name == "nginx-cache"
    # What one port has stored the other finds; and with tcp_nopush the cache waits 40 ms per answer to a lone small connection.
    pairs = ((ports.off, "off", 1), (ports.on, "on", 0))
    return [
        listening(Running(name, version, f"{words}, tcp_nopush {on}", port, [process], cached, is_copy, warm), folder)
        for port, on, warm in pairs
    ]
