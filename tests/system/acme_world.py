"""A real name server (Knot) and a real CA (Pebble) on loopback, started by the tests that need them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import httpx

from chassis.certificates import key_to_pem, make_ca, make_csr, make_key, sign_csr, write_private
from chassis.tls import client_context
from onebox.ports import free_port

HOST = "127.0.0.1"
KEY_NAME = "lowtide"
START_S = 20.0
STOP_S = 10.0
PATHS = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def program(name: str) -> str:
    """Where a program is. Raises AssertionError with what to install."""
    found = shutil.which(name, path=PATHS)
    assert found is not None, f"{name} is not installed: sudo scripts/system-parts"
    return found


@asynccontextmanager
async def process(
    *argv: str, log: Path, env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program that ends with the block; what it says goes to a file."""
    with log.open("ab") as file:
        made = await asyncio.create_subprocess_exec(*argv, stdout=file, stderr=file, env={**os.environ, **(env or {})})
    try:
        yield made
    finally:
        with contextlib.suppress(ProcessLookupError):
            made.terminate()
        try:
            await asyncio.wait_for(made.wait(), STOP_S)
        except TimeoutError:
            made.kill()
            await made.wait()


@dataclass(frozen=True)
class Knot:
    """A running name server with one zone, which takes signed updates."""

    zone: str
    port: int
    key_file: Path

    async def look(self, owner: str, kind: str) -> tuple[str, ...]:
        """What it answers, in order; empty where it has nothing."""
        query = dns.message.make_query(owner, kind)
        answer = await dns.asyncquery.tcp(query, HOST, timeout=5.0, port=self.port)
        found = [value.to_text().strip('"') for rrset in answer.answer for value in rrset]
        return tuple(sorted(found))


@asynccontextmanager
async def running_knot(folder: Path, zone: str) -> AsyncIterator[Knot]:
    folder.mkdir(parents=True, exist_ok=True)
    port, secret = free_port(), base64.b64encode(secrets.token_bytes(32)).decode()
    (folder / "zone").write_text(
        f"$ORIGIN {zone}.\n$TTL 5\n@ IN SOA ns.{zone}. admin.{zone}. 1 60 60 600 1\n@ IN NS ns.{zone}.\nns IN A {HOST}\n"
    )
    config = folder / "knot.conf"
    config.write_text(
        f"server:\n  rundir: {folder}\n  listen: {HOST}@{port}\n  udp-workers: 1\n  tcp-workers: 2\n"
        f"  background-workers: 1\nlog:\n- target: stderr\n  any: info\n"
        f"database:\n  storage: {folder}\n  journal-db-max-size: 16M\n  timer-db-max-size: 2M\n  kasp-db-max-size: 6M\n"
        f"key:\n- id: {KEY_NAME}\n  algorithm: hmac-sha256\n  secret: {secret}\n"
        f"acl:\n- id: ours\n  key: {KEY_NAME}\n  action: update\n"
        f"zone:\n- domain: {zone}\n  storage: {folder}\n  file: zone\n  acl: ours\n"
    )
    key_file = folder / "key"
    key_file.write_text(secret)
    async with process(program("knotd"), "-c", str(config), log=folder / "knot.log") as running:
        made = Knot(zone, port, key_file)
        async with asyncio.timeout(START_S):
            while True:
                assert running.returncode is None, (folder / "knot.log").read_text()
                with contextlib.suppress(OSError, EOFError, dns.exception.DNSException):
                    if await made.look(zone, "SOA"):
                        break
                await asyncio.sleep(0.05)
        yield made


@dataclass(frozen=True)
class Pebble:
    """A running CA. `ca_file` proves its own HTTPS; what it signs leads to `root_pem`."""

    directory: str
    ca_file: Path
    root_pem: str


@asynccontextmanager
async def running_pebble(
    folder: Path,
    dns_port: int,
    *,
    valid_s: int = 86400,
    refused_nonces: int = 5,
    accounts: Mapping[str, str] | None = None,
) -> AsyncIterator[Pebble]:
    """`valid_s` is the life of its certificates; so many of a hundred good nonces it refuses, as RFC 8555 §6.5 allows.

    With `accounts` (key id → MAC key) only those who have one may open an account (§7.3.4).
    """
    folder.mkdir(parents=True, exist_ok=True)
    port, management = free_port(), free_port()
    _make_own_certificate(folder)
    config = {
        "pebble": {
            "listenAddress": f"{HOST}:{port}",
            "managementListenAddress": f"{HOST}:{management}",
            "certificate": str(folder / "own.pem"),
            "privateKey": str(folder / "own.key"),
            "httpPort": 5002,
            "tlsPort": 5001,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": accounts is not None,
            "externalAccountMACKeys": dict(accounts or {}),
            "certificateValidityPeriod": valid_s,
        }
    }
    (folder / "pebble.json").write_text(json.dumps(config))
    env = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": str(refused_nonces)}
    argv = (program("pebble"), "-config", str(folder / "pebble.json"), "-dnsserver", f"{HOST}:{dns_port}")
    ca_file = folder / "own-ca.pem"
    async with process(*argv, log=folder / "pebble.log", env=env) as running:
        root_pem = await _root(f"https://{HOST}:{management}/roots/0", ca_file, running, folder / "pebble.log")
        yield Pebble(f"https://{HOST}:{port}/dir", ca_file, root_pem)


async def _root(url: str, ca_file: Path, running: asyncio.subprocess.Process, log: Path) -> str:
    async with asyncio.timeout(START_S), httpx.AsyncClient(verify=client_context(ca=ca_file)) as client:
        while True:
            assert running.returncode is None, log.read_text()
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(url)).text
            await asyncio.sleep(0.05)


def _make_own_certificate(folder: Path) -> None:
    """For Pebble's own HTTPS: the one in its package has expired."""
    now, ca_key, key = time.time(), make_key(), make_key()
    ca_pem = make_ca(ca_key, "Pebble's HTTPS", now)
    csr = make_csr(key, "lowtide://test/pebble", (HOST,))
    leaf = sign_csr(csr, ca_pem=ca_pem, ca_key=ca_key, uri="lowtide://test/pebble", addresses=(HOST,), now=now)
    (folder / "own-ca.pem").write_text(ca_pem)
    (folder / "own.pem").write_text(leaf)
    write_private(folder / "own.key", key_to_pem(key))
