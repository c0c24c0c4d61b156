"""What a worker tells whom about how an answer was made, at its socket."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from contracts.digests import BLOCK_BYTES
from oca.config import Serving
from tests.oca.worker.worker_harness import publish, running, with_keeper

FILE = publish("v-360.mp4", 2 * BLOCK_BYTES + 5)
HALF = publish("v-720.mp4", 2 * BLOCK_BYTES + 5)
MISSED = publish("v-900.mp4", 100)


@pytest.mark.parametrize("networks", [("127.0.0.0/8",), (), ("192.0.2.0/24",)])
async def test_only_trusted_clients_are_told_the_details(tmp_path: Path, networks: tuple[str, ...]) -> None:
    trusted = networks == ("127.0.0.0/8",)
    with running(tmp_path, trusted_networks=networks) as bench:
        bench.store_file(FILE)
        bench.store_file(HALF, [0])
        bench.start()
        async with with_keeper(bench) as keeper:
            for file in (HALF, MISSED):
                keeper.files[file.name.key] = file
            client = await bench.connect()
            for path, headers, status, short, kind in (
                (bench.path(FILE), {}, 200, "lowtide;hit", "hit"),
                (bench.path(FILE), {"Range": "bytes=0-9"}, 206, "lowtide;hit", "hit"),
                (bench.path(FILE), {"Range": "bytes=0-9"}, 206, "lowtide;hit", "hit"),
                (bench.path(FILE), {"If-None-Match": "*"}, 304, "lowtide;hit", "hit"),
                (bench.path(HALF), {"Range": f"bytes={BLOCK_BYTES}-"}, 206, "lowtide;fwd=partial", "partial"),
                (bench.path(MISSED), {}, 200, "lowtide;fwd=uri-miss", "miss"),
            ):
                reply = await client.ask(path, **headers)
                assert reply.status == status
                said = reply.headers["cache-status"]
                if not trusted:
                    assert said == short
                    assert "server-timing" not in reply.headers
                    continue
                assert said.startswith(f"{short};ttl=")
                assert f';key="vod|/media/t1/hd/{path.rpartition("/")[2]}"' in said
                assert ("detail=" in said) is (kind != "miss")
                assert re.fullmatch(rf"cache;desc={kind};dur=[0-9]+\.[0-9]{{3}}", reply.headers["server-timing"])
            for path, headers, word in (
                (FILE.name.path, {}, "token-missing"),
                (bench.path(FILE), {"If-Match": '"x"'}, None),
                (bench.path(publish("none.mp4", 5)), {}, "not-found"),
                (bench.path(FILE), {"Expect": "x"}, "expectation"),
            ):
                reply = await client.ask(path, **headers)
                assert reply.headers.get("cache-status") == (f"lowtide;detail={word}" if trusted and word else None)
            await client.close()


def test_a_wrong_network_is_a_wrong_setting() -> None:
    with pytest.raises(ValueError, match=r"trusted_networks: 10\.0\.0\.0/33 is no network"):
        Serving(trusted_networks=("10.0.0.0/33",))
