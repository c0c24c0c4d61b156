"""What a worker does in each stage: the shell around the pure modules. One method per stage of `states`.

Every method may run any number of times, also after a kill in its middle: it reads what earlier stages left in the title's
folder, works in its lease's attempt folder, and renames what is whole. `SourceRejected` ends the title, `StageFailed`
(and any other origin error) means another attempt.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from contracts.catalogue import FileKind, Rendition, Title
from origin import boxes, check, encode, package, probe, publish
from origin.announce import Announcer
from origin.check import Measured
from origin.config import OriginSettings
from origin.encode import EncodePlan, Unit
from origin.errors import SourceRejected, StageFailed
from origin.folders import TitleFolder, link, publish_folder
from origin.jobs import Jobs, Lease
from origin.ladder import Track, plan_ladder
from origin.objects import MediaObjects
from origin.probe import Rejected, Rejection, SourceFacts
from origin.programs import Finished, Programs
from origin.publish import Package
from origin.states import Stage

T = TypeVar("T")
OnShare = Callable[[float], None]
HEAD_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Work:
    """One lease's view of its title."""

    lease: Lease
    folder: TitleFolder
    on_share: OnShare
    """Told the share of the stage that is done, 0..1."""


class Stages:
    """The stages with everything they need."""

    def __init__(
        self,
        settings: OriginSettings,
        jobs: Jobs,
        programs: Programs,
        objects: MediaObjects,
        announcer: Announcer,
        now: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._jobs = jobs
        self._programs = programs
        self._objects = objects
        self._announcer = announcer
        self._now = now
        self._run: dict[Stage, Callable[[Work], Awaitable[None]]] = {
            Stage.PROBE: self.probe,
            Stage.CHUNK: self.chunk,
            Stage.ENCODE: self.encode,
            Stage.PACKAGE: self.package,
            Stage.CHECK: self.check,
            Stage.PUBLISH: self.publish,
            Stage.WITHDRAW: self.withdraw,
        }

    async def run(self, work: Work) -> None:
        """Does the work of the lease's stage. Raises SourceRejected, LeaseLost or another OriginError."""
        await self._run[work.lease.step.stage](work)

    async def probe(self, work: Work) -> None:
        await asyncio.to_thread(work.folder.begin_anew)
        source = str(work.folder.source.resolve())
        asked = await self._probe(work, probe.stream_arguments(source))
        if asked.code != 0:
            raise SourceRejected(probe.refused(asked.complaints))
        facts = _accepted(probe.read_streams(asked.output, work.lease.facts.language))
        packets = await self._probe(work, probe.packet_arguments(source, facts.video_stream))
        limits = probe.Limits(self._settings.ingest.min_duration_s)
        facts = _accepted(probe.judge(facts, packets.output, packets.complaints, limits))
        if facts.subtitles:
            facts = probe.with_words(facts, (await self._probe(work, probe.subtitle_arguments(source))).output)
        work.folder.write("facts", facts, work.folder.attempt(work.lease.epoch))

    async def chunk(self, work: Work) -> None:
        facts = _made(work.folder.read("facts", SourceFacts))
        rules = self._settings.encode
        ladder = plan_ladder(facts, rules.rungs, rules.audio_bitrate_bps)
        plan = EncodePlan(facts, ladder, encode.plan_chunks(ladder, rules.chunk_s))
        work.folder.write("plan", plan, work.folder.attempt(work.lease.epoch))

    async def encode(self, work: Work) -> None:
        if work.folder.encoded.is_dir():
            return
        plan = _made(work.folder.read("plan", EncodePlan))
        units = encode.units(plan)
        shares = dict.fromkeys((unit.name for unit in units), 0.0)
        at_once = asyncio.Semaphore(self._settings.encode.parallel)

        async def one(unit: Unit) -> None:
            def on_share(share: float) -> None:
                shares[unit.name] = share * unit.weight
                work.on_share(sum(shares.values()))

            async with at_once:
                await self._encode_unit(work, plan, unit, on_share)

        await _all(one(unit) for unit in units)
        await self._join(work, plan)

    async def package(self, work: Work) -> None:
        plan = _made(work.folder.read("plan", EncodePlan))
        attempt = work.folder.attempt(work.lease.epoch)
        if not work.folder.packaged.is_dir():
            await self._package(work, plan)
        codecs = package.read_codecs((work.folder.packaged / package.MPD_FILE).read_bytes())
        title = work.lease.facts.id
        renditions: list[Rendition] = []
        for track in plan.ladder.tracks:
            index = await asyncio.to_thread(_index, work.folder, track)
            named = codecs.get(f"{track.id}.mp4")
            if named is None:
                raise StageFailed(f"the packager named no codec for {track.id}")
            renditions.append(package.rendition(title, track, plan.ladder, named, index))
        work.folder.write("package", Package(tuple(renditions), plan.ladder.duration_s), attempt)

    async def check(self, work: Work) -> None:
        plan = _made(work.folder.read("plan", EncodePlan))
        made = _made(work.folder.read("package", Package))
        tracks = plan.ladder.tracks
        measured: list[Measured] = []
        for number, track in enumerate(tracks):
            measured.append(await self._measure(work, track))
            work.on_share((number + 1) / (len(tracks) + 1))
        findings = check.inspect(plan.ladder, tuple(measured))
        if findings:
            words = "; ".join(finding.words for finding in findings)
            raise SourceRejected(Rejected(Rejection.CHECK_FAILED, words))
        wanted = package.publications(work.lease.facts.id, plan.ladder)
        files = [await asyncio.to_thread(publish.digest, work.folder.packaged / one.name.file, one) for one in wanted]
        record = publish.title_record(work.lease.facts, made, tuple(files), self._now())
        work.folder.write("title", record, work.folder.attempt(work.lease.epoch))

    async def publish(self, work: Work) -> None:
        record = await self._jobs.record(work.lease.title_id)
        if record is None:
            title = _made(work.folder.read("title", Title))
            await publish.store(self._objects, work.folder.packaged, title.files, work.on_share)
            record = msgspec.structs.replace(title, published_at=self._now())
            await self._jobs.make_visible(work.lease, record)
        await self._announcer.announce(record)
        await asyncio.to_thread(work.folder.drop_intermediates)

    async def withdraw(self, work: Work) -> None:
        record = await self._jobs.record(work.lease.title_id)
        if record is not None:
            await self._announcer.withdraw(work.lease.title_id)
            await self._jobs.make_invisible(work.lease)
            for file in record.files:
                await self._objects.remove(file.path)
        await asyncio.to_thread(work.folder.remove)
        await self._jobs.forget(work.lease)

    async def _encode_unit(self, work: Work, plan: EncodePlan, unit: Unit, on_share: OnShare) -> None:
        done = work.folder.units / unit.name
        if done.is_dir():
            on_share(1.0)
            return
        unfinished = work.folder.attempt(work.lease.epoch) / unit.name
        unfinished.mkdir(exist_ok=True)
        frames = unit.chunk.frames if unit.chunk else plan.ladder.frames
        progress = encode.Progress(float(frames / plan.ladder.rate))

        def on_line(line: str) -> None:
            if progress.feed(line):
                on_share(progress.done)

        rules = self._settings.encode
        source = str(work.folder.source.resolve())
        effort = encode.Effort(rules.threads, rules.scaler, rules.audio_coder)
        given = encode.arguments(plan, unit, source, str(unfinished.relative_to(work.folder.path)), effort)
        ended = await self._ffmpeg(work, given, on_line)
        _require_encoded(ended, unit.name)
        publish_folder(unfinished, done)

    async def _join(self, work: Work, plan: EncodePlan) -> None:
        """All tracks in one folder: chunks joined without encoding again, single ones linked; the poster beside them."""
        unfinished = work.folder.attempt(work.lease.epoch) / "encoded"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        relative = str(unfinished.relative_to(work.folder.path))
        for unit in encode.units(plan):
            if unit.chunk is None or len(plan.chunks) == 1:
                for name in encode.outputs(plan, unit):
                    link(work.folder.units / unit.name / name, unfinished / name)
        for video in plan.ladder.videos if len(plan.chunks) > 1 else ():
            script = f"units/{video.id}.ffconcat"
            (work.folder.path / script).write_text(encode.join_list(plan, video))
            joined = await self._ffmpeg(work, encode.join_arguments(plan, script, f"{relative}/{video.id}.mp4"))
            if joined.code != 0:
                raise StageFailed(f"chunks of {video.id} cannot be joined: {joined.last_complaint}")
        picture, still = f"{relative}/{plan.ladder.videos[0].id}.mp4", f"{relative}/{package.POSTER_FILE}"
        poster = await self._ffmpeg(work, encode.poster_arguments(plan, picture, still))
        if poster.code != 0 or not (unfinished / package.POSTER_FILE).exists():
            raise StageFailed(f"no poster could be made: {poster.last_complaint}")
        publish_folder(unfinished, work.folder.encoded)

    async def _package(self, work: Work, plan: EncodePlan) -> None:
        unfinished = work.folder.attempt(work.lease.epoch) / "packaged"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        given = package.arguments(plan.ladder, "encoded", str(unfinished.relative_to(work.folder.path)))
        ended = await self._programs.run(
            self._programs.packager, given, work.folder.path, nice=self._settings.encode.nice
        )
        if ended.code != 0:
            raise StageFailed(f"the packager failed: {ended.last_complaint}")
        _write_manifests(work.lease.facts.id, plan, unfinished)
        link(work.folder.encoded / package.POSTER_FILE, unfinished / package.POSTER_FILE)
        publish_folder(unfinished, work.folder.packaged)

    async def _measure(self, work: Work, track: Track) -> Measured:
        file = work.folder.packaged / f"{track.id}.mp4"
        kind = package.kind_of(track)
        index = await asyncio.to_thread(_index, work.folder, track)
        playlist = file.with_suffix(".m3u8").read_text()
        if kind is FileKind.SUBTITLES:
            return Measured(track.id, kind, index, 0, "", playlist)
        counted, decoded = await asyncio.gather(
            self._probe(work, check.count_arguments(str(file.resolve()))),
            self._ffmpeg(work, check.decode_arguments(str(file.resolve()))),
        )
        return Measured(
            id=track.id,
            kind=kind,
            index=index,
            frames=check.read_count(counted.output),
            decode_errors=decoded.complaints or ("" if decoded.code == 0 else decoded.last_complaint),
            playlist=playlist,
        )

    async def _probe(self, work: Work, arguments: tuple[str, ...]) -> Finished:
        asked = await self._programs.run(
            self._programs.ffprobe, arguments, work.folder.path, nice=self._settings.encode.nice
        )
        if asked.code != 0 and asked.is_our_fault:
            raise StageFailed(f"ffprobe failed: {asked.last_complaint}")
        return asked

    async def _ffmpeg(
        self, work: Work, arguments: tuple[str, ...], on_line: Callable[[str], None] | None = None
    ) -> Finished:
        nice = self._settings.encode.nice
        return await self._programs.run(self._programs.ffmpeg, arguments, work.folder.path, nice=nice, on_line=on_line)


def _write_manifests(title: str, plan: EncodePlan, folder: Path) -> None:
    """The manifests to publish, beside the packager's own."""
    told = ((folder / name).read_bytes() for name in (package.MPD_FILE, package.MASTER_FILE))
    try:
        made = package.packaged_manifests(title, plan.ladder, *told)
    except package.PackageError as error:
        raise StageFailed(str(error)) from error
    for name, text in made.items():
        (folder / name).write_text(text)


def _require_encoded(ended: Finished, unit: str) -> None:
    if ended.code == 0:
        return
    if ended.is_our_fault:
        raise StageFailed(f"encoding {unit} failed: {ended.last_complaint}")
    raise SourceRejected(Rejected(Rejection.UNDECODABLE, ended.last_complaint))


def _accepted(verdict: SourceFacts | Rejected) -> SourceFacts:
    if isinstance(verdict, Rejected):
        raise SourceRejected(verdict)
    return verdict


def _index(folder: TitleFolder, track: Track) -> boxes.SegmentIndex:
    file = folder.packaged / f"{track.id}.mp4"
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    try:
        return boxes.read_index(head, file.stat().st_size)
    except boxes.BoxError as error:
        raise StageFailed(f"{file.name}: {error}") from error


def _made(value: T | None) -> T:
    """A result of an earlier stage. Its absence means somebody removed it from the folder."""
    if value is None:
        raise StageFailed("a result of an earlier stage is missing in the title's folder: upload the source again")
    return value


async def _all(parts: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all; the first error cancels the others and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for part in parts:
                group.create_task(part)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
