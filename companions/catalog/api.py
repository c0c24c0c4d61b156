"""The addresses of the catalog."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec
from prometheus_client import Gauge

from chassis.auth import Guard
from chassis.clock import Clock
from chassis.errors import ProblemError
from chassis.logs import get_logger
from chassis.routes import Answer, Call, Routes
from companions.catalog.paging import BadPage, page_name, parse_page
from companions.catalog.records import Records
from companions.catalog.titles import title_faults
from companions.catalog.words import query_words
from contracts.catalogue import Title, TitleDetails, TitleDigests, TitleList
from contracts.problems import ProblemCode

MAX_TITLE_BYTES = 64 * 1024 * 1024
"""A title carries 32 bytes per 256 KiB of each file: 64 MiB is more than 100 TB of media."""
MAX_QUERY_CHARS = 200
_REGION = re.compile(r"[A-Z]{2}")
_LOG = get_logger("companions.catalog")


class ListQuery(msgspec.Struct, frozen=True):
    """`region` is an ISO 3166 code, `page` the `next_page` of an earlier answer."""

    region: str
    genre: str = ""
    page: str = ""


class SearchQuery(msgspec.Struct, frozen=True):
    region: str
    q: str


class DetailsQuery(msgspec.Struct, frozen=True):
    region: str


@dataclass(frozen=True, slots=True)
class PageSizes:
    list_titles: int
    search_titles: int


class CatalogApi:
    def __init__(self, records: Records, clock: Clock, sizes: PageSizes, titles_gauge: Gauge) -> None:
        self._records = records
        self._clock = clock
        self._sizes = sizes
        self._titles_gauge = titles_gauge

    def routes(self, publisher: Guard) -> Routes:
        made = Routes("Catalog")
        path = "/v1/titles/{title_id}"
        made.get("/v1/titles", self.listed, summary="Titles shown in a region, newest first, by genre and page")
        made.get("/v1/search", self.search, summary="Titles that have all words of `q`, best first")
        made.get(path, self.details, summary="All about a title that is shown in a region")
        made.get(f"{path}/digests", self.digests, summary="Block digests of a title's files, to check every byte")
        made.put(
            path,
            self.publish,
            summary="Publish a title, or publish it anew",
            guard=publisher,
            max_body_bytes=MAX_TITLE_BYTES,
        )
        made.delete(path, self.withdraw, summary="Take a title out of the catalog", guard=publisher)
        return made

    async def listed(self, call: Call[None, ListQuery]) -> TitleList:
        query = call.query
        try:
            place = parse_page(query.page)
        except BadPage as error:
            raise ProblemError(ProblemCode.BAD_QUERY, str(error)) from error
        titles, following = await self._records.listed(
            _region(query.region),
            self._clock.wall_s(),
            genre=query.genre,
            after_place=place,
            limit=self._sizes.list_titles,
        )
        return TitleList(tuple(titles), page_name(following) if following else "")

    async def search(self, call: Call[None, SearchQuery]) -> TitleList:
        if len(call.query.q) > MAX_QUERY_CHARS:
            raise ProblemError(ProblemCode.BAD_QUERY, f"q: takes up to {MAX_QUERY_CHARS} characters")
        words = query_words(call.query.q)
        region, now = _region(call.query.region), self._clock.wall_s()
        return TitleList(tuple(await self._records.found(region, now, words, self._sizes.search_titles)))

    async def details(self, call: Call[None, DetailsQuery]) -> TitleDetails:
        region, title_id = _region(call.query.region), call.path["title_id"]
        found = await self._records.details(title_id)
        if found is None:
            raise ProblemError(ProblemCode.NOT_FOUND, f"there is no title {title_id[:80]!r}")
        if not found.facts.licence.allows(region, self._clock.wall_s()):
            raise ProblemError(ProblemCode.NOT_IN_REGION, f"{found.facts.name!r} is not available in {region} now")
        return found

    async def digests(self, call: Call[None]) -> TitleDigests:
        title_id = call.path["title_id"]
        found = await self._records.digests(title_id)
        if found is None:
            raise ProblemError(ProblemCode.NOT_FOUND, f"there is no title {title_id[:80]!r}")
        return found

    async def publish(self, call: Call[Title]) -> Answer[None]:
        """201 when the title is new, 204 when it took the place of an earlier one."""
        title, title_id = call.body, call.path["title_id"]
        faults = title_faults(title)
        if title.facts.id != title_id:
            faults = (f"facts.id: is {title.facts.id[:80]!r} at the address of {title_id[:80]!r}", *faults)
        if faults:
            raise ProblemError(ProblemCode.UNPROCESSABLE, "the title cannot be shown like this", errors=faults)
        if title.published_at <= 0:
            title = msgspec.structs.replace(title, published_at=self._clock.wall_s())
        new = await self._records.put(title)
        await self.measure()
        _LOG.info("title-published", title=title_id, new=new, renditions=len(title.renditions))
        return Answer(None, 201 if new else 204)

    async def withdraw(self, call: Call[None]) -> None:
        title_id = call.path["title_id"]
        if not await self._records.remove(title_id):
            raise ProblemError(ProblemCode.NOT_FOUND, f"there is no title {title_id[:80]!r}")
        await self.measure()
        _LOG.info("title-withdrawn", title=title_id)

    async def measure(self) -> None:
        self._titles_gauge.set(await self._records.count())


def _region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ProblemError(ProblemCode.BAD_QUERY, f"region: {text[:20]!r} is not an ISO 3166 code such as DE")
    return text
