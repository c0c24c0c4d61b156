"""A session's manifest: the packaged document, fetched from the origin once per version, made personal.

Laws: a document is taken only with the digest under which the catalog knows it, so that neither the origin nor who stands
between can change what players are told; one fetch at a time for a document; what cannot be had, read or matched is drawn
from the catalog's facts instead, counted and logged: the same renditions with their languages and purposes, the same first sound, without
trick play and without whatever else only the packager wrote.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.errors import ServiceError, Source
from chassis.logs import get_logger
from companions.bounded import Bounded
from companions.playback import manifest_mpd, master_m3u8, personal_m3u8, personal_mpd
from companions.playback.metrics import ManifestSource, PlaybackMetrics
from companions.playback.sheets import PackagedFile, Sheet
from contracts.manifests import elements, playlists
from contracts.manifests.bad import BadManifest
from contracts.urls import with_token

_LOG = get_logger("companions.playback")
_DRAWN = "/"
D = TypeVar("D")


@dataclass(frozen=True, slots=True)
class Form(Generic[D]):
    """One kind of manifest: how a document is read, made personal, drawn from facts, and written."""

    parse: Callable[[bytes], D]
    personal: Callable[[D, Sheet, str], D]
    from_facts: Callable[[Sheet], D]
    write: Callable[[D], str]


DASH = Form(elements.parse, personal_mpd.personal, manifest_mpd.from_facts, elements.write)
HLS = Form(playlists.parse, personal_m3u8.personal, master_m3u8.from_facts, playlists.write)


class Manifests(Generic[D]):
    """Manifests of one form. At most `limit` documents are remembered; an origin that failed is left alone for
    `pause_s`, one that is silent for `idle_s` has failed."""

    def __init__(
        self,
        form: Form[D],
        origin: ServiceClient,
        metrics: PlaybackMetrics,
        clock: Clock,
        *,
        idle_s: float,
        pause_s: float,
        limit: int,
    ) -> None:
        self._form = form
        self._origin = origin
        self._metrics = metrics
        self._clock = clock
        self._idle_s = idle_s
        self._pause_s = pause_s
        self._known: Bounded[str, D | ManifestSource] = Bounded(limit)
        self._asking: dict[str, asyncio.Task[D | ManifestSource]] = {}
        self._failed_s: float | None = None

    async def text(self, sheet: Sheet, packaged: PackagedFile | None) -> str:
        """The session's manifest. Never raises for a packaged document that is not to be had or is wrong."""
        found = ManifestSource.NONE_PUBLISHED if packaged is None else await self._document(packaged, sheet.token)
        if packaged is not None and not isinstance(found, ManifestSource):
            try:
                made = self._form.personal(found, sheet, packaged.path)
            except BadManifest as error:
                found = ManifestSource.MALFORMED
                self._known.put(packaged.sha256, found)
                _say(packaged, found, str(error))
            else:
                self._metrics.manifests.labels(ManifestSource.PACKAGED.value).inc()
                return self._form.write(made)
        assert isinstance(found, ManifestSource)
        self._metrics.manifests.labels(found.value).inc()
        return self._form.write(self._form.personal(self._form.from_facts(sheet), sheet, _DRAWN))

    async def _document(self, file: PackagedFile, token: str) -> D | ManifestSource:
        known = self._known.get(file.sha256)
        if known is not None:
            return known
        if file.sha256 not in self._asking:
            if self._failed_s is not None and self._clock.monotonic_s() - self._failed_s < self._pause_s:
                return ManifestSource.UNREACHABLE
            task = asyncio.create_task(self._fetched(file, token))
            task.add_done_callback(lambda _done: self._asking.pop(file.sha256))
            self._asking[file.sha256] = task
        # A player that leaves does not take the document from the others who wait for it.
        return await asyncio.shield(self._asking[file.sha256])

    async def _fetched(self, file: PackagedFile, token: str) -> D | ManifestSource:
        try:
            async with self._origin.open("GET", with_token(token, file.path), idle_s=self._idle_s) as response:
                raw = await response.content.read(-1) if response.content_length == file.size_bytes else b""
        except ServiceError as error:
            if error.source is not Source.CLIENT:
                self._failed_s = self._clock.monotonic_s()
            _say(file, ManifestSource.UNREACHABLE, str(error))
            return ManifestSource.UNREACHABLE
        self._failed_s = None
        verdict = self._judged(file, raw)
        if verdict is not ManifestSource.OTHER_BYTES:
            self._known.put(file.sha256, verdict)
        return verdict

    def _judged(self, file: PackagedFile, raw: bytes) -> D | ManifestSource:
        if hashlib.sha256(raw).hexdigest() != file.sha256:
            _say(file, ManifestSource.OTHER_BYTES, "the origin's file does not have the published digest")
            return ManifestSource.OTHER_BYTES
        try:
            return self._form.parse(raw)
        except BadManifest as error:
            _say(file, ManifestSource.MALFORMED, str(error))
            return ManifestSource.MALFORMED


def _say(file: PackagedFile, why: ManifestSource, detail: str) -> None:
    _LOG.warning("manifest-drawn-from-facts", why=why.value, path=file.path, detail=detail)
