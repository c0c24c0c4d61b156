"""From what the origin publishes to what members and services are shown. Pure."""

from __future__ import annotations

from contracts.catalogue import FileSummary, Rendition, Title, TitleDetails, TitleSummary
from contracts.urls import is_name, parse_media_path


def title_faults(title: Title) -> tuple[str, ...]:
    """Everything that keeps a title out of the catalog, one line each."""
    faults = []
    if not is_name(title.facts.id):
        faults.append(f"facts.id: {title.facts.id[:60]!r} is not a name of lower-case letters, digits, dot, _ and -")
    if not title.facts.name.strip():
        faults.append("facts.name: is empty")
    if not title.duration_s > 0:
        faults.append("duration_s: must be above 0")
    if not title.renditions:
        faults.append("renditions: is empty: there is nothing to play")
    for rendition in title.renditions:
        faults += _rendition_faults(title.facts.id, rendition)
    published = {file.path for file in title.files}
    for field, path in (("dash_path", title.dash_path), ("hls_path", title.hls_path)):
        if path and path not in published:
            faults.append(f"{field}: {path[:80]!r} is none of the title's files")
    return tuple(faults)


def details_of(title: Title) -> TitleDetails:
    """Everything but the lists of block digests."""
    return TitleDetails(
        facts=title.facts,
        duration_s=title.duration_s,
        renditions=title.renditions,
        files=tuple(
            FileSummary(
                path=file.path,
                kind=file.kind,
                tier=file.tier,
                group=file.group,
                size_bytes=file.size_bytes,
                blake3=file.digests.blake3,
                sha256=file.digests.sha256,
            )
            for file in title.files
        ),
        poster_path=title.poster_path,
        dash_path=title.dash_path,
        hls_path=title.hls_path,
    )


def summary_of(details: TitleDetails) -> TitleSummary:
    facts = details.facts
    return TitleSummary(
        id=facts.id,
        name=facts.name,
        genres=facts.genres,
        duration_s=details.duration_s,
        year=facts.year,
        synopsis=facts.synopsis,
        maturity=facts.maturity,
        poster_path=details.poster_path,
        cast=facts.cast,
    )


def _rendition_faults(title_id: str, rendition: Rendition) -> list[str]:
    faults = []
    paths = [("path", rendition.path), ("playlist_path", rendition.playlist_path)]
    if rendition.iframe_playlist_path:
        paths.append(("iframe_playlist_path", rendition.iframe_playlist_path))
    for field, path in paths:
        name = parse_media_path(path)
        if name is None or name.title != title_id or name.tier != rendition.tier:
            faults.append(
                f"renditions.{rendition.id}.{field}: {path[:80]!r} is not under /media/{title_id}/{rendition.tier}/"
            )
    return faults
