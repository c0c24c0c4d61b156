"""The origin of the cycle: every file's bytes made on request, by mutual TLS for appliances and plain for players. A process of its own.

`python -m benchmarks.cycle.origin --sizes FILE --tls FOLDER --host H --port P --mtls-port P --ready-fd N`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import msgspec
from aiohttp import web
from blake3 import blake3

from chassis.enrolment import kept_files
from chassis.tls import ClientCertificate, server_context
from contracts.urls import MEDIA_SERVICE, cache_key, split_token

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class MadeMedia:
    """Answers single ranges of the files it knows by their token-less path."""

    def __init__(self, sizes: dict[str, int]) -> None:
        self._sizes = sizes

    async def serve(self, request: web.Request) -> web.Response:
        _, path = split_token(request.path)
        size = self._sizes.get(path)
        asked = _RANGE.fullmatch(request.headers.get("Range", ""))
        if size is None:
            return web.Response(status=404)
        if asked is None or int(asked[1]) >= size or int(asked[1]) > int(asked[2]):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        body = blake3(cache_key(MEDIA_SERVICE, path).encode()).digest(length=last - first + 1, seek=first)
        headers = {"Content-Range": f"bytes {first}-{last}/{size}", "Content-Type": "video/mp4"}
        return web.Response(status=206, body=body, headers=headers)


async def run(given: argparse.Namespace) -> None:
    """Serves until SIGTERM."""
    app = web.Application()
    app.router.add_get(
        "/{path:.*}", MadeMedia(msgspec.json.decode(given.sizes.read_bytes(), type=dict[str, int])).serve
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    context = server_context(kept_files(given.tls), ClientCertificate.REQUIRED)
    await web.TCPSite(runner, given.host, given.port).start()
    await web.TCPSite(runner, given.host, given.mtls_port, ssl_context=context).start()
    urls = {"http": f"http://{given.host}:{given.port}", "mtls": f"https://{given.host}:{given.mtls_port}"}
    if given.ready_fd is not None:
        os.write(given.ready_fd, msgspec.json.encode({"listening": urls}) + b"\n")
        os.close(given.ready_fd)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await runner.cleanup()


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cycle.origin")
    parser.add_argument("--sizes", type=Path, required=True)
    parser.add_argument("--tls", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--mtls-port", type=int, required=True)
    parser.add_argument("--ready-fd", type=int)
    asyncio.run(run(parser.parse_args(argv)))


if __name__ == "__main__":
    main(sys.argv[1:])
