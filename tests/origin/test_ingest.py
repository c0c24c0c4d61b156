from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.client import ServiceClient
from chassis.errors import ProblemError, ServiceError
from contracts.catalogue import Campaign, Licence, TitleFacts
from contracts.ingest import JobList, TitleState, TitleStatus
from contracts.problems import ProblemCode
from contracts.urls import is_name
from origin.api import made_id
from origin.config import Ingest
from origin.folders import TitleFolder
from origin.uploads import BodyBroken, UploadError, UploadOutcome, Uploads, expected_sha256
from tests.origin.room import OPERATOR_TOKEN, Room, eventually, running_room

BODY = bytes(range(256)) * 5000


async def pieces(*parts: bytes, breaks: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if breaks:
        raise BodyBroken("connection lost")


def uploads(max_bytes: int = 1 << 30, idle_s: float = 5.0) -> Uploads:
    return Uploads(max_bytes, idle_s, lambda _count: None)


def names(folder: TitleFolder) -> list[str]:
    return sorted(entry.name for entry in folder.path.iterdir()) if folder.path.exists() else []


async def test_a_whole_upload_appears_under_its_name(tmp_path: Path) -> None:
    folder = TitleFolder(tmp_path / "t")
    digest = base64.b64encode(hashlib.sha256(BODY).digest()).decode()
    header = f"sha-512=:AAAA:, sha-256=:{digest}:"
    assert await uploads().receive(folder, pieces(BODY[:7], BODY[7:]), len(BODY), header) == len(BODY)
    assert folder.source.read_bytes() == BODY
    assert names(folder) == ["source"]


async def test_a_truncated_upload_leaves_nothing(tmp_path: Path) -> None:
    folder = TitleFolder(tmp_path / "t")
    for breaks in (True, False):
        with pytest.raises(UploadError) as refused:
            await uploads().receive(folder, pieces(BODY[:1000], breaks=breaks), len(BODY), None)
        assert refused.value.outcome is UploadOutcome.TRUNCATED
        assert (
            refused.value.detail
            == f"1000 of {len(BODY)} announced bytes arrived; nothing was kept, send the file again"
        )
        assert names(folder) == []


async def test_a_truncated_upload_keeps_an_earlier_source(tmp_path: Path) -> None:
    folder = TitleFolder(tmp_path / "t")
    await uploads().receive(folder, pieces(BODY), len(BODY), None)
    with pytest.raises(UploadError):
        await uploads().receive(folder, pieces(b"x"), 2, None)
    assert folder.source.read_bytes() == BODY


async def test_an_upload_that_falls_silent_is_broken_off(tmp_path: Path) -> None:
    async def silent() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.Event().wait()

    with pytest.raises(UploadError, match="then nothing for"):
        await uploads(idle_s=0.01).receive(TitleFolder(tmp_path / "t"), silent(), 10, None)


async def test_other_bytes_than_the_digest_says_are_refused(tmp_path: Path) -> None:
    folder = TitleFolder(tmp_path / "t")
    other = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    with pytest.raises(UploadError) as refused:
        await uploads().receive(folder, pieces(BODY), len(BODY), f"sha-256=:{other}:")
    assert refused.value.code is ProblemCode.DIGEST_MISMATCH
    assert names(folder) == []


@pytest.mark.parametrize("length", [None, 0, 101])
async def test_a_length_that_is_missing_zero_or_too_large_is_refused_before_a_byte(
    tmp_path: Path, length: int | None
) -> None:
    with pytest.raises(UploadError) as refused:
        await uploads(max_bytes=100).receive(TitleFolder(tmp_path / "t"), pieces(BODY), length, None)
    assert refused.value.status in (400, 411, 413)


async def test_two_uploads_of_one_title_do_not_mix(tmp_path: Path) -> None:
    running, folder = uploads(), TitleFolder(tmp_path / "t")
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield BODY[:10]
        await gate.wait()
        yield BODY[10:]

    first = asyncio.create_task(running.receive(folder, slow(), len(BODY), None))
    await asyncio.sleep(0)
    with pytest.raises(UploadError) as refused:
        await running.receive(folder, pieces(b"zz"), 2, None)
    assert refused.value.code is ProblemCode.CONFLICT
    gate.set()
    await first
    assert folder.source.read_bytes() == BODY


@given(st.text(max_size=60))
def test_any_digest_header_is_read_or_refused(text: str) -> None:
    for header in (text, f"sha-256={text}"):
        try:
            found = expected_sha256(header)
        except ProblemError:
            continue
        assert found is None or len(found) == 32


@given(st.text(max_size=200))
def test_an_id_made_from_any_name_is_a_valid_one(name: str) -> None:
    assert is_name(made_id(name, "a1b2c3"))
    assert len(made_id(name, "a1b2c3")) <= 64


def test_a_made_id_can_be_recognised() -> None:
    assert made_id("Großer Hase: Das Café!", "a1b2c3") == "grosser-hase-das-cafe-a1b2c3"


async def test_a_title_is_made_with_an_id_of_its_name(room: Room) -> None:
    made = await room.operator.post("/v1/titles", TitleFacts(id="", name="Big Buck"), TitleStatus)
    assert made.facts.id.startswith("big-buck-")
    assert (made.state, made.progress, made.stage) == (TitleState.CREATED, 0.0, "")


async def test_everything_wrong_with_the_facts_is_said_at_once(room: Room) -> None:
    licence = Licence(regions=("Germany",), starts_at=2.0, ends_at=1.0)
    with pytest.raises(ServiceError) as refused:
        await room.operator.post(
            "/v1/titles", TitleFacts(id="Bad Id", name=" ", licence=licence, campaigns=(Campaign(2.0, 1.0, 0.0),))
        )
    assert refused.value.status == 422
    assert refused.value.problem is not None
    assert len(refused.value.problem.errors) == 6


async def test_an_id_is_given_once(room: Room) -> None:
    await room.operator.post("/v1/titles", TitleFacts(id="t1", name="One"))
    with pytest.raises(ServiceError) as refused:
        await room.operator.post("/v1/titles", TitleFacts(id="t1", name="Two"))
    assert refused.value.code is ProblemCode.CONFLICT


async def test_only_the_operator_may_bring_titles_in(room: Room) -> None:
    async with ServiceClient(room.urls["http"], bearer="wrong") as stranger:
        for method, path in (("POST", "/v1/titles"), ("GET", "/v1/titles"), ("PUT", "/v1/titles/t1/source")):
            with pytest.raises(ServiceError) as refused:
                await stranger.call(method, path, TitleFacts(id="t1", name="n"), None)
            assert refused.value.status == 401


async def test_a_connection_that_breaks_in_the_middle_changes_nothing(room: Room) -> None:
    await room.operator.post("/v1/titles", TitleFacts(id="t1", name="One"))
    where = urlsplit(room.urls["http"])
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    head = f"PUT /v1/titles/t1/source HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n"
    writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 5000)
    await writer.drain()
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""
    await eventually(lambda: not names(TitleFolder(room.settings.titles / "t1")))
    assert (await room.status()).state is TitleState.CREATED
    jobs = await room.jobs.unfinished()
    assert jobs == ()


async def test_a_client_that_waits_after_too_few_bytes_is_told_so(tmp_path: Path) -> None:
    async with running_room(tmp_path, ingest=Ingest(idle_s=0.2)) as room:
        await room.operator.post("/v1/titles", TitleFacts(id="t1", name="One"))
        where = urlsplit(room.urls["http"])
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        head = f"PUT /v1/titles/t1/source HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n"
        writer.write(f"{head}Content-Length: 100000\r\n\r\n".encode() + b"x" * 5000)
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
        body = await asyncio.wait_for(reader.read(4096), 30)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"5000 of 100000 announced bytes arrived, then nothing for 0.2 s; nothing was kept" in body
        assert (await room.status()).state is TitleState.CREATED


async def test_a_source_is_refused_for_a_title_that_is_not_known_or_not_waiting_for_one(
    room: Room, tmp_path: Path
) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"some bytes")
    with pytest.raises(ServiceError) as unknown:
        await room.upload(file, "t9")
    assert unknown.value.status == 404
    assert (await room.ingest(file)).state is TitleState.UPLOADED
    with pytest.raises(ServiceError) as busy:
        await room.upload(file)
    assert busy.value.code is ProblemCode.CONFLICT


async def test_what_happened_to_the_title_while_the_bytes_came_decides(room: Room, tmp_path: Path) -> None:
    """A title that is worked on again must keep the source that the worker reads; one that is gone leaves nothing behind."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"no video at all")
    second.write_bytes(b"another file of bytes")
    await room.ingest(first)
    await room.worker.work_once()
    assert (await room.status()).state is TitleState.REJECTED
    folder = TitleFolder(room.settings.titles / "t1")
    arriving, retried = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield second.read_bytes()[:5]
        arriving.set()
        await retried.wait()
        yield second.read_bytes()[5:]

    async def send(title_id: str) -> int:
        headers = {"Content-Length": str(second.stat().st_size)}
        path = f"/v1/titles/{title_id}/source"
        async with room.operator.open("PUT", path, data=body(), headers=headers) as response:
            return response.status

    sending = asyncio.create_task(send("t1"))
    await arriving.wait()
    await room.operator.post("/v1/titles/t1/retry", None, TitleStatus)
    retried.set()
    with pytest.raises(ServiceError) as refused:
        await sending
    assert refused.value.code is ProblemCode.CONFLICT
    assert folder.source.read_bytes() == first.read_bytes()
    assert not folder.part.exists()

    arriving.clear()
    retried.clear()
    await room.operator.post("/v1/titles", TitleFacts(id="t2", name="Two"), TitleStatus)
    sending = asyncio.create_task(send("t2"))
    await arriving.wait()
    await room.operator.delete("/v1/titles/t2", TitleStatus)
    while (await room.operator.get("/v1/jobs", JobList)).jobs:
        await room.worker.work_once()
    retried.set()
    with pytest.raises(ServiceError) as gone:
        await sending
    assert gone.value.status == 404
    assert not (room.settings.titles / "t2").exists()
