"""What services call on the `mtls` listener: keys, the origin's address, titles, the change stream."""

from __future__ import annotations

from chassis.auth import PeerGuard, PeerIdentity
from chassis.logs import get_logger
from chassis.routes import Call, Routes
from contracts.catalogue import Title
from contracts.digests import block_count
from contracts.enrolment import PeerKind
from contracts.keys import KeySet, PublicKey
from contracts.triggers import Selection, TriggerRequest, TriggerType
from contracts.urls import is_name, parse_media_path
from contracts.world import FallbackOrigin
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import places as place_archive
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, unknown
from control_plane.keys import Keys
from control_plane.stream import CONTENT_TYPE, ChangeStream
from control_plane.triggers import TriggerDesk

MAX_TITLE_BYTES = 64 * 1024 * 1024


class ServiceApi:
    """Handlers; `add_to` is their table."""

    def __init__(
        self, desk: Desk, keys: Keys, triggers: TriggerDesk, stream: ChangeStream, origins: tuple[str, ...]
    ) -> None:
        self._desk = desk
        self._keys = keys
        self._triggers = triggers
        self._stream = stream
        self._origins = frozenset(origins)

    def add_to(self, routes: Routes) -> None:
        service = PeerGuard(PeerKind.SERVICE)
        origin = PeerGuard(PeerKind.SERVICE, names=self._origins)
        routes.put("/v1/keys/{kid}", self.put_key, summary="Publish a public key", guard=service)
        routes.put("/v1/origin", self.put_origin, summary="Say where an origin is reached", guard=origin, status=204)
        routes.put(
            "/v1/titles/{title_id}",
            self.put_title,
            summary="Publish a title with its files and digests",
            guard=origin,
            status=204,
            max_body_bytes=MAX_TITLE_BYTES,
        )
        routes.delete("/v1/titles/{title_id}", self.drop_title, summary="Withdraw a title", guard=origin)
        routes.raw(
            "GET",
            "/v1/changes",
            self._stream.handle,
            summary="NDJSON: the record as it is, then every Change as it happens",
            guard=service,
            content_type=CONTENT_TYPE,
        )

    async def put_key(self, call: Call[PublicKey]) -> KeySet:
        return await self._keys.publish(call.path["kid"], call.body, call.who(PeerIdentity).name)

    async def put_origin(self, call: Call[FallbackOrigin]) -> None:
        origin, desk = call.body, self._desk
        wrong = _wrong_origin(origin)
        if wrong:
            raise contradiction(wrong)
        async with desk.alone():
            async with desk.archive() as session:
                await place_archive.put_origin(session, origin)
            desk.tell(desk.registry.put_origin(origin))

    async def put_title(self, call: Call[Title]) -> None:
        title, desk = call.body, self._desk
        wrong = wrong_title(call.path["title_id"], title)
        if wrong:
            raise contradiction(wrong)
        async with desk.alone():
            async with desk.archive() as session:
                known = await catalogue_archive.versions(session, [file.key for file in title.files])
                for file in title.files:
                    if known.get(file.key, ("", file.digests.blake3))[1] != file.digests.blake3:
                        raise conflict(
                            f"{file.path} was published with other bytes; media never changes under its address: "
                            "withdraw the title first"
                        )
                await catalogue_archive.put_title(session, title)
            desk.registry.put_title(title)
        get_logger("control_plane.catalogue").info("title-published", title=title.facts.id, files=len(title.files))

    async def drop_title(self, call: Call[None]) -> None:
        """With it goes what appliances hold of it: both are one transaction. Said again it is NOT_FOUND, and orders nothing."""
        title_id, desk = call.path["title_id"], self._desk
        who = call.who(PeerIdentity)
        purge = TriggerRequest(TriggerType.PURGE, Selection.TAG, f"title:{title_id}", "the title was withdrawn")
        async with desk.alone():
            if title_id not in desk.registry.sizes:
                raise unknown("title", title_id)
            async with desk.archive() as session:
                await catalogue_archive.drop_title(session, title_id)
                written = await self._triggers.write(session, purge, f"{who.kind.value}/{who.name}")
            desk.registry.drop_title(title_id)
            self._triggers.tell(written.trigger)
        get_logger("control_plane.catalogue").info("title-withdrawn", title=title_id)


def wrong_title(title_id: str, title: Title) -> tuple[str, ...]:
    """One line for everything that contradicts itself in a title."""
    wrong: list[str] = []
    if title.facts.id != title_id or not is_name(title_id):
        wrong.append(f"facts.id: {title.facts.id!r} must be the name in the address")
    seen: set[str] = set()
    for number, file in enumerate(title.files):
        name = parse_media_path(file.path)
        where = f"files[{number}]"
        if name is None or name.title != title_id or name.tier != file.tier:
            wrong.append(f"{where}.path: {file.path!r} is not /media/{title_id}/{file.tier}/FILE")
        elif file.digests.key != file.key or file.digests.size_bytes != file.size_bytes:
            wrong.append(f"{where}.digests: are of another file")
        elif block_count(file.size_bytes) != file.digests.block_count:
            wrong.append(f"{where}.digests: {file.digests.block_count} blocks do not make {file.size_bytes} bytes")
        elif file.path in seen:
            wrong.append(f"{where}.path: {file.path!r} is there twice")
        seen.add(file.path)
    return tuple(wrong[:20])


def _wrong_origin(origin: FallbackOrigin) -> tuple[str, ...]:
    wrong: list[str] = []
    if not origin.name:
        wrong.append("name: is empty")
    if not origin.player_url.startswith(("http://", "https://")):
        wrong.append(f"player_url: {origin.player_url!r} is not a URL")
    if not origin.mtls_url.startswith("https://"):
        wrong.append(f"mtls_url: {origin.mtls_url!r} is not an https URL")
    return tuple(wrong)
