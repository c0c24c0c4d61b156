"""The ingest API: titles, their sources, their jobs."""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import AsyncIterator

import msgspec
from aiohttp import ClientPayloadError, web

from chassis.auth import Guard
from chassis.errors import ProblemError
from chassis.routes import Answer, Call, Routes, json_response
from contracts.catalogue import TitleFacts
from contracts.ingest import JobList, TitleStatus, TitleStatusList
from contracts.problems import ProblemCode
from contracts.urls import is_name
from origin.config import OriginSettings
from origin.folders import TitleFolder
from origin.jobs import Jobs, require_source_welcome
from origin.metrics import UploadMetrics
from origin.uploads import BodyBroken, Place, UploadError, UploadOutcome, Uploads

MAX_ID_CHARS = 64
PIECE_BYTES = 256 * 1024


class IngestApi:
    """Handlers of `/v1/titles` and `/v1/jobs`."""

    def __init__(self, settings: OriginSettings, jobs: Jobs, metrics: UploadMetrics) -> None:
        self._titles = settings.titles
        self._jobs = jobs
        self._metrics = metrics
        ingest = settings.ingest
        self._uploads = Uploads(ingest.max_source_bytes, ingest.idle_s, metrics.bytes.inc)

    def add_to(self, routes: Routes, operator: Guard) -> None:
        """Adds the API's routes; those that write are for the operator."""
        one = "/v1/titles/{id}"
        routes.post("/v1/titles", self.create, summary="Make a title; then send its source", guard=operator, status=201)
        routes.get("/v1/titles", self.titles, summary="All titles with their states", guard=operator)
        routes.get(one, self.title, summary="State, stage and progress of a title", guard=operator)
        routes.delete(one, self.withdraw, summary="Take a title back everywhere", guard=operator, status=202)
        routes.post(f"{one}/retry", self.retry, summary="Work on a rejected or waiting title now", guard=operator)
        routes.raw("PUT", f"{one}/source", self.upload, summary="The source file, raw", guard=operator)
        routes.get("/v1/jobs", self.jobs, summary="Unfinished jobs in the order they are taken", guard=operator)

    async def create(self, call: Call[TitleFacts]) -> Answer[TitleStatus]:
        facts = _checked(call.body)
        made = await self._jobs.create(facts)
        return Answer(made, 201, {"Location": f"/v1/titles/{facts.id}"})

    async def titles(self, _call: Call[None]) -> TitleStatusList:
        return TitleStatusList(await self._jobs.statuses())

    async def title(self, call: Call[None]) -> TitleStatus:
        return await self._jobs.status(call.path["id"])

    async def withdraw(self, call: Call[None]) -> TitleStatus:
        return await self._jobs.withdraw(call.path["id"])

    async def retry(self, call: Call[None]) -> TitleStatus:
        return await self._jobs.retry(call.path["id"])

    async def jobs(self, _call: Call[None]) -> JobList:
        return JobList(await self._jobs.unfinished())

    async def upload(self, request: web.Request) -> web.StreamResponse:
        """`PUT /v1/titles/ID/source`."""
        title_id = request.match_info["id"]
        try:
            status = await self._receive(title_id, request)
        except ProblemError as error:
            outcome = error.outcome if isinstance(error, UploadError) else UploadOutcome.REFUSED
            self._metrics.uploads.labels(outcome.value).inc()
            raise
        self._metrics.uploads.labels(UploadOutcome.TAKEN.value).inc()
        return json_response(status)

    async def _receive(self, title_id: str, request: web.Request) -> TitleStatus:
        known = await self._jobs.status(title_id)
        require_source_welcome(title_id, known.state)
        folder = TitleFolder(self._titles / title_id)
        digest = request.headers.get("Repr-Digest")
        length = request.content_length

        async def accept(place: Place) -> None:
            await self._jobs.source_arrived(title_id, length or 0, place)

        await self._uploads.receive(folder, _body(request), length, digest, accept)
        return await self._jobs.status(title_id)


async def _body(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for piece in request.content.iter_chunked(PIECE_BYTES):
            yield piece
    except (web.RequestPayloadError, ClientPayloadError, ConnectionError) as error:
        raise BodyBroken(str(error)) from error


def _checked(facts: TitleFacts) -> TitleFacts:
    """The facts with an id (made of the name when none is given). Raises ProblemError with everything that is wrong."""
    wrong: list[str] = []
    if not facts.name.strip():
        wrong.append("name: a title needs one")
    title_id = facts.id or made_id(facts.name, secrets.token_hex(3))
    if not is_name(title_id) or len(title_id) > MAX_ID_CHARS:
        wrong.append(f"id: {facts.id!r} is not of a-z, 0-9, dot, underscore, hyphen (at most {MAX_ID_CHARS})")
    starts, ends = facts.licence.starts_at, facts.licence.ends_at
    if starts is not None and ends is not None and ends <= starts:
        wrong.append("licence: it ends before it starts")
    for number, campaign in enumerate(facts.campaigns):
        if campaign.ends_at <= campaign.starts_at:
            wrong.append(f"campaigns[{number}]: it ends before it starts")
        if not campaign.reach > 0:
            wrong.append(f"campaigns[{number}].reach: must be above 0")
    wrong += [f"licence.regions: {r!r} is not two capital letters" for r in facts.licence.regions if not _region(r)]
    if wrong:
        raise ProblemError(ProblemCode.UNPROCESSABLE, "the title's facts are not valid", errors=tuple(wrong))
    return msgspec.structs.replace(facts, id=title_id)


def made_id(name: str, suffix: str) -> str:
    """An id that people recognise: the name in plain letters, and a suffix that makes it unique."""
    plain = unicodedata.normalize("NFKD", name.casefold()).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[: MAX_ID_CHARS - len(suffix) - 1].strip("-")
    return f"{words}-{suffix}" if words else suffix


def _region(text: str) -> bool:
    return len(text) == 2 and text.isascii() and text.isalpha() and text.isupper()
