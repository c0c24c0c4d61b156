"""Real BGP daemons for tests: a router of an ISP (BIRD), and the daemon beside an appliance (BIRD or ExaBGP)."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from oca.config import BgpSession, Routes
from oca.routes import bird, exabgp

ROUTER_AS, BOX_AS = 64500, 64600
PATIENCE_S = 30.0


class Daemon:
    """A process of ours, in a network namespace where one is named. Ended by its id."""

    def __init__(
        self, command: Sequence[str], log: Path, namespace: str = "", environ: dict[str, str] | None = None
    ) -> None:
        self._command = [*(("ip", "netns", "exec", namespace) if namespace else ()), *command]
        self._log = log
        self._environ = {**os.environ, **(environ or {})}
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdout=log, stderr=log, stdin=asyncio.subprocess.DEVNULL, env=self._environ,
                start_new_session=True,
            )  # fmt: skip

    async def ended(self) -> None:
        """Waits until it has ended by itself."""
        assert self._process is not None, "it was started"
        async with asyncio.timeout(PATIENCE_S):
            await self._process.wait()

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        os.killpg(self._process.pid, how)
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            os.killpg(self._process.pid, signal.SIGKILL)
            await self._process.wait()

    @property
    def words(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""


class Router:
    """A router of an ISP: BIRD with static routes, which it announces to one box."""

    def __init__(
        self,
        folder: Path,
        address: str,
        box: str,
        ports: tuple[int, int] = (0, 0),
        namespace: str = "",
        asn: int = ROUTER_AS,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.address, self.asn = address, asn
        self._folder, self._box, self._ports, self._namespace = folder, box, ports, namespace
        self._routes: dict[str, str] = {}
        self._write()
        self._daemon = Daemon(
            ["bird", "-f", "-c", str(self._config), "-s", str(folder / "ctl"), "-P", str(folder / "pid")],
            folder / "log",
            namespace,
        )

    async def start(self) -> None:
        await self._daemon.start()
        await self._birdc("show status")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        await self._daemon.stop(how)

    async def announce(self, *cidrs: str, via: str = "") -> None:
        """Announces these too; `via` is what BIRD sets on them, as `bgp_med = 7;`."""
        self._routes.update(dict.fromkeys(cidrs, via))
        await self._apply()

    def announce_later(self, *cidrs: str, via: str = "") -> None:
        """The same, of a router that has not started."""
        self._routes.update(dict.fromkeys(cidrs, via))
        self._write()

    async def withdraw(self, *cidrs: str) -> None:
        for cidr in cidrs:
            del self._routes[cidr]
        await self._apply()

    async def reset(self) -> None:
        await self._birdc("restart box")

    @property
    def words(self) -> str:
        return self._daemon.words

    @property
    def _config(self) -> Path:
        return self._folder / "bird.conf"

    async def _apply(self) -> None:
        self._write()
        await self._birdc("configure soft")

    def _write(self) -> None:
        hops = "multihop 2" if self._ports[0] else "direct"
        port, box_port = (f" port {port}" if port else "" for port in self._ports)
        text = (
            f"log stderr all;\nrouter id 10.99.0.1;\nprotocol device {{ scan time 1; }}\n"
            f"protocol static s4 {{ ipv4; {self._static(4)} }}\nprotocol static s6 {{ ipv6; {self._static(6)} }}\n"
            f"protocol bgp box {{ local {self.address}{port} as {self.asn}; neighbor {self._box}{box_port} as {BOX_AS}; {hops};\n"
            f"  strict bind yes; connect delay time 1; connect retry time 1; error wait time 1, 2; hold time 6;\n"
            f"  ipv4 {{ import none; export all; next hop self; }};\n"
            f"  ipv6 {{ import none; export all; next hop address 2001:db8::1; }};\n}}\n"
        )
        self._config.write_text(text)

    def _static(self, version: int) -> str:
        its = {cidr: via for cidr, via in self._routes.items() if (":" in cidr) == (version == 6)}
        return " ".join(f"route {cidr} blackhole{f' {{ {via} }}' if via else ''};" for cidr, via in its.items())

    async def _birdc(self, command: str) -> None:
        """Waits for a BIRD that is only starting."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                asked = await asyncio.create_subprocess_exec(
                    "birdc", "-s", str(self._folder / "ctl"), *command.split(), stdout=asyncio.subprocess.DEVNULL,
                    stderr=asyncio.subprocess.DEVNULL,
                )  # fmt: skip
                if await asked.wait() == 0:
                    return
                await asyncio.sleep(0.1)


def settings(
    daemon: str,
    folder: Path,
    routers: Iterable[Router],
    local: str,
    ports: tuple[int, int] = (0, 0),
    maximum: int = 50_000,
) -> Routes:
    """Of a box at `local`; `ports` are the router's and its own."""
    sessions = tuple(
        BgpSession(
            f"r{number}",
            router.address,
            router.asn,
            local,
            2 if ports[0] else 1,
            maximum=maximum,
            peer_port=ports[0],
            local_port=ports[1],
        )
        for number, router in enumerate(routers, 1)
    )
    assert daemon in ("bird", "exabgp")
    return Routes(
        "bird" if daemon == "bird" else "exabgp", BOX_AS, "", sessions, str(folder / "ctl"), hold_s=6, look_s=0.1
    )


def box_daemon(routes: Routes, folder: Path, socket_path: Path, namespace: str = "") -> Daemon:
    """The daemon of those settings, with the configuration that the product writes."""
    folder.mkdir(parents=True, exist_ok=True)
    if routes.daemon == "bird":
        text = bird.configuration(routes).replace("log syslog all;", "log stderr all;")
        (folder / "bird.conf").write_text(text)
        command = ["bird", "-f", "-c", str(folder / "bird.conf"), "-s", routes.bird_socket, "-P", str(folder / "pid")]
        return Daemon(command, folder / "log", namespace)
    forward = f"{sys.executable} -m oca.routes.forward {socket_path}"
    (folder / "exabgp.conf").write_text(exabgp.configuration(routes, forward))
    environ = {
        "exabgp_daemon_user": "root", "exabgp_tcp_bind": routes.sessions[0].local, "exabgp_api_cli": "false",
        "exabgp_daemon_drop": "false", "exabgp_log_level": "INFO",
    }  # fmt: skip
    if routes.sessions[0].local_port:
        environ["exabgp_tcp_port"] = str(routes.sessions[0].local_port)
    return Daemon(
        [sys.executable, "-m", "exabgp", "server", str(folder / "exabgp.conf")], folder / "log", namespace, environ
    )


def has_bird() -> bool:
    return shutil.which("bird") is not None and shutil.which("birdc") is not None
