"""Titles and their files: what the origin publishes, the catalog shows, the planner places, playback offers."""

from __future__ import annotations

from enum import Enum

import msgspec

from contracts.digests import FileDigests
from contracts.urls import MEDIA_SERVICE, cache_key


class FileKind(Enum):
    VIDEO = "video"
    AUDIO = "audio"
    SUBTITLES = "subtitles"
    PLAYLIST = "playlist"
    IMAGE = "image"


class Segment(msgspec.Struct, frozen=True, array_like=True):
    """A media segment inside a rendition's file: absolute byte range [offset, offset + length) and its duration."""

    offset: int
    length: int
    duration_s: float


class Rendition(msgspec.Struct, frozen=True):
    """One encoded track in one CMAF file, with the facts that manifests are made from.

    `init_range` and `index_range` are inclusive byte ranges (first, last) as DASH writes them. `playlist_path` is the HLS
    media playlist beside the file, `iframe_playlist_path` the playlist of its I-frames where there is one. `path` is the
    token-less media path. `bandwidth_bps` is the peak segment rate.
    """

    id: str
    kind: FileKind
    path: str
    playlist_path: str
    tier: str
    codecs: str
    bandwidth_bps: int
    average_bandwidth_bps: int
    init_range: tuple[int, int]
    index_range: tuple[int, int]
    segments: tuple[Segment, ...]
    duration_s: float
    width: int = 0
    height: int = 0
    frame_rate: float = 0.0
    sample_rate_hz: int = 0
    channels: int = 0
    language: str = "und"
    iframe_playlist_path: str = ""
    video_range: str = "SDR"
    """Range of light as HLS names it: SDR, HLG or PQ."""
    forced: bool = False
    """Of subtitles: for those who understand the sound but for some words."""
    for_deaf: bool = False
    """Of subtitles: they tell noises too."""


class PublishedFile(msgspec.Struct, frozen=True):
    """One file of a title. Files with one `group` (a rendition and its playlist) are placed together."""

    path: str
    kind: FileKind
    tier: str
    group: str
    size_bytes: int
    digests: FileDigests

    @property
    def key(self) -> str:
        return cache_key(MEDIA_SERVICE, self.path)


class Licence(msgspec.Struct, frozen=True):
    """Where and when a title may be shown. No regions means everywhere; ISO 3166 codes otherwise.

    `fill_ahead`: it may lie on appliances before `starts_at`, where nobody is shown it yet.
    """

    regions: tuple[str, ...] = ()
    starts_at: float | None = None
    ends_at: float | None = None
    fill_ahead: bool = True

    def allows(self, region: str, now: float) -> bool:
        if self.regions and region not in self.regions:
            return False
        if self.starts_at is not None and now < self.starts_at:
            return False
        return self.ends_at is None or now < self.ends_at


class Campaign(msgspec.Struct, frozen=True):
    """Days on which a title is advertised. `reach` is its size beside the usual campaign's, which is 1."""

    starts_at: float
    ends_at: float
    reach: float = 1.0


class TitleFacts(msgspec.Struct, frozen=True):
    """What people read about a title, and what the planner knows of its release.

    `available_from` is when it is first shown (the start of its licence where that is later); None is when it was published.
    `franchise` names what it is a part of.
    """

    id: str
    name: str
    synopsis: str = ""
    genres: tuple[str, ...] = ()
    cast: tuple[str, ...] = ()
    language: str = "und"
    year: int = 0
    maturity: str = "all"
    licence: Licence = Licence()
    available_from: float | None = None
    franchise: str = ""
    campaigns: tuple[Campaign, ...] = ()


class Title(msgspec.Struct, frozen=True):
    """A published title: the facts, the renditions and every file with its digests.

    `dash_path` and `hls_path` name the manifests among the files: what the packager wrote, with `Rendition.id` as the id of
    each Representation, and addresses relative to themselves. Empty for a title that was published without.

    Sent by the origin to the control plane (`PUT /v1/titles/ID`) and to the catalog (`PUT /v1/titles/ID`).
    """

    facts: TitleFacts
    duration_s: float
    renditions: tuple[Rendition, ...]
    files: tuple[PublishedFile, ...]
    poster_path: str = ""
    published_at: float = 0.0
    dash_path: str = ""
    hls_path: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


class TitleDigests(msgspec.Struct, frozen=True):
    """Digests of every published file of a title, so that any player can check every byte."""

    files: tuple[FileDigests, ...]


class TitleSummary(msgspec.Struct, frozen=True):
    """What a row of the home page needs."""

    id: str
    name: str
    genres: tuple[str, ...]
    duration_s: float
    year: int = 0
    synopsis: str = ""
    maturity: str = "all"
    poster_path: str = ""
    cast: tuple[str, ...] = ()


class TitleList(msgspec.Struct, frozen=True):
    titles: tuple[TitleSummary, ...]
    next_page: str = ""


class FileSummary(msgspec.Struct, frozen=True):
    path: str
    kind: FileKind
    tier: str
    group: str
    size_bytes: int
    blake3: str
    sha256: str

    @property
    def key(self) -> str:
        return cache_key(MEDIA_SERVICE, self.path)


class TitleDetails(msgspec.Struct, frozen=True):
    """What playback and the title page need: everything but the digests."""

    facts: TitleFacts
    duration_s: float
    renditions: tuple[Rendition, ...]
    files: tuple[FileSummary, ...]
    poster_path: str = ""
    dash_path: str = ""
    hls_path: str = ""

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)
