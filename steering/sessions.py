"""What steering knows of a running session: nothing but what the session's own player brings back, signed. Pure.

A session is sealed into the address that its player asks next (`RELOAD-URI`), so that any steering process with the key answers it and none
has to remember it. Laws
- What is not sealed by one of our keys is not looked into: the tag is checked before anything is unpacked.
- A sealed session is at most MOST_CHARS long; one that would be longer is not steered.
- The client is kept as the network it was ranked in (/24, /48, or the longer prefix that it was found by), never as an address.

Sealed: base64url of format (1 byte), key id (4), tag (16: keyed BLAKE2b over format, key id and body), body (zlib of MessagePack).
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import zlib
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from hmac import compare_digest
from urllib.parse import urlsplit

import msgspec

from contracts.content_steering import STATE_FIELD
from contracts.pathways import last_of, pathways_of
from contracts.urls import MEDIA_SERVICE, MediaName, parse_media_path, split_key
from contracts.world import Choice, RankFile, Ranking, RankRequest
from steering.prefixes import IpAddress, parse_address

FORMAT = 1
KEY_BYTES = 32
MOST_CHARS = 4096
NETWORK_BITS = {4: 24, 6: 48}
_KEY_ID_BYTES = 4
_TAG_BYTES = 16
_HEAD_BYTES = 1 + _KEY_ID_BYTES + _TAG_BYTES
_PERSON = b"lowtide-steering"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ENCODER = msgspec.msgpack.Encoder()
_FOREIGN = "/"
"""In front of the name of a group that does not begin with its title."""
_STANDARD_PORTS = {"http": 80, "https": 443}


class Session(msgspec.Struct, frozen=True, array_like=True):
    """One session. Instants are whole seconds since 1970; `until` is its end.

    `groups` are (name, TIER/FILE of each file), names without the title in front; `boxes` are appliances, and `places` says by group who
    of them its `pathway-1`, `pathway-2` … lead to: from the second on the same for all groups, and nobody where a group has no appliance
    (contracts.pathways). `base` is what the addresses of `pathway-1` have in common but the host.
    """

    play: str
    until: int
    client: str
    site: str
    scheme: str
    base: str
    title: str
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    boxes: tuple[str, ...]
    places: tuple[tuple[int, ...], ...]
    needs_kbps: int = 0
    course: tuple[str, ...] = ()
    """Where it was steered to last, best first: appliances as clones, pathways of the manifest; none while it is where the manifest says."""
    moved_at: int = 0
    throughput_kbps: int = 0
    """As its player reports it, smoothed."""
    low: int = 0
    """How many reports in a row were too low for its lowest renditions."""
    slow_moved_at: int = 0
    away: str = ""
    """The other site whose network it asked from last; empty when it asked from its own."""

    def at(self, number: int) -> tuple[str, ...]:
        """The appliance of each group in `pathway-{number}`; empty where the group has fewer."""
        return tuple(self.boxes[its[number - 1]] if number <= len(its) else "" for its in self.places)

    @property
    def pathways(self) -> int:
        """How many pathways of appliances the manifest has."""
        return max(map(len, self.places), default=0)

    def request(self, client: str) -> RankRequest:
        """What is asked when the whole title is ranked anew."""
        files = tuple(RankFile(self._media(its).key, self.group(name)) for name, of in self.groups for its in of)
        return RankRequest(client, files, scheme=self.scheme, play=self.play)

    def group(self, name: str) -> str:
        return name.removeprefix(_FOREIGN) if name.startswith(_FOREIGN) else f"{self.title}/{name}"

    def _media(self, its: str) -> MediaName:
        tier, _slash, file = its.partition("/")
        return MediaName(self.title, tier, file)


_DECODER = msgspec.msgpack.Decoder(Session)


class NotSteered(Enum):
    """Why a ranking has no address for content steering (log word)."""

    NO_SESSION = "no-session"
    """The request names no session, or not when it ends."""
    BAD_NAME = "session-name-unusable"
    OVER = "session-over"
    NOT_MEDIA = "not-files-of-one-title"
    TOO_LONG = "state-too-long"


class Refused(Enum):
    """Why a sealed session is not taken (log word)."""

    MISSING = "missing"
    TOO_LONG = "too-long"
    MALFORMED = "malformed"
    NEWER = "newer-format"
    FORGED = "forged"
    FOREIGN = "of-another-session"
    OVER = "session-over"


class SessionRefused(Exception):
    """`why` it is refused; the message says it in words."""

    def __init__(self, why: Refused, words: str) -> None:
        super().__init__(words)
        self.why = why


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys of KEY_BYTES, at least one: the first seals, all open."""

    keys: tuple[bytes, ...]

    def seal(self, session: Session) -> str:
        """The session as text for a query."""
        head = bytes((FORMAT,)) + _key_id(self.keys[0])
        body = zlib.compress(_ENCODER.encode(session), 6)
        return base64.urlsafe_b64encode(head + _tag(self.keys[0], head, body) + body).rstrip(b"=").decode()

    def open(self, text: str) -> Session:
        """The session in a query. Raises SessionRefused."""
        data = _bytes(text)
        if data[0] > FORMAT:
            raise SessionRefused(
                Refused.NEWER,
                f"the state is of format {data[0]}; this steering knows {FORMAT}: it was made by a newer one",
            )
        head, tag, body = data[: 1 + _KEY_ID_BYTES], data[1 + _KEY_ID_BYTES : _HEAD_BYTES], data[_HEAD_BYTES:]
        key = next((key for key in self.keys if _key_id(key) == head[1:]), None)
        if key is None or not compare_digest(tag, _tag(key, head, body)):
            raise SessionRefused(Refused.FORGED, "the state is not sealed by a key of this steering")
        try:
            return _DECODER.decode(zlib.decompress(body))
        except (zlib.error, msgspec.MsgspecError) as error:
            raise SessionRefused(Refused.MALFORMED, f"the state cannot be read: {error}") from error


def opened(request: RankRequest, ranking: Ranking, wall_s: float) -> Session | NotSteered:
    """The session that begins with an answer of `/v1/rank`, or why it is not steered."""
    if not request.play or not request.until:
        return NotSteered.NO_SESSION
    if _NAME.fullmatch(request.play) is None:
        return NotSteered.BAD_NAME
    if request.until <= wall_s:
        return NotSteered.OVER
    names = [_media_name(file.key) for file in request.files]
    titles = {name.title for name in names if name is not None}
    if None in names or len(titles) != 1:
        return NotSteered.NOT_MEDIA
    title = titles.pop()
    files: dict[str, list[str]] = {}
    for file, name in zip(request.files, names, strict=True):
        assert name is not None
        files.setdefault(file.group or file.key, []).append(f"{name.tier}/{name.file}")
    placed = pathways_of([group.choices for group in ranking.groups])
    boxes = tuple(dict.fromkeys(choice.appliance_id for choices in placed for choice in choices))
    number = {name: at for at, name in enumerate(boxes)}
    bases = {
        _hostless(choices[0] if choices else last_of(group.choices))
        for choices, group in zip(placed, ranking.groups, strict=True)
    }
    return Session(
        play=request.play,
        until=int(request.until),
        client=network_of(request.client, ranking.prefix),
        site=ranking.site_id,
        scheme=request.scheme,
        base=bases.pop() if len(bases) == 1 else "",
        title=title,
        groups=tuple((_short(title, group.group), tuple(files[group.group])) for group in ranking.groups),
        boxes=boxes,
        places=tuple(tuple(number[choice.appliance_id] for choice in choices) for choices in placed),
        needs_kbps=int(request.needs_bps / 1000),
    )


def network_of(client: str, prefix: str) -> str:
    """The network of an address that is kept: /24 or /48, or `prefix` where that is longer. Raises ValueError for what is no address."""
    address = parse_address(client)
    longest = int(prefix.rpartition("/")[2]) if prefix else 0
    return str(ipaddress.ip_network((address, max(NETWORK_BITS[address.version], longest)), strict=False))


def somebody_in(network: str, play: str, draw: int = 0) -> str:
    """An address of the network, by draw always the same for a session, others for others: it spreads over equal appliances as its client
    would."""
    its = ipaddress.ip_network(network)
    drawn = blake2b(play.encode(), digest_size=16, salt=draw.to_bytes(8)).digest()
    spread = int.from_bytes(drawn) % its.num_addresses
    return str(its[spread])


def version_of(network: str) -> int:
    """4 or 6."""
    return ipaddress.ip_network(network).version


def is_inside(address: IpAddress, network: str) -> bool:
    return address in ipaddress.ip_network(network)


@lru_cache(maxsize=16384)
def hostless(url: str) -> str:
    """An address without its host: what a clone keeps. Standard ports are left out."""
    parts = urlsplit(url)
    port = parts.port
    shown = "" if port is None or port == _STANDARD_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{shown}{parts.path.rstrip('/')}"


def _hostless(choice: Choice | None) -> str:
    return hostless(choice.url) if choice is not None else ""


def _short(title: str, group: str) -> str:
    return group.removeprefix(f"{title}/") if group.startswith(f"{title}/") else _FOREIGN + group


@lru_cache(maxsize=65536)
def _media_name(key: str) -> MediaName | None:
    try:
        service, path = split_key(key)
    except ValueError:
        return None
    return parse_media_path(path) if service == MEDIA_SERVICE else None


def _bytes(text: str) -> bytes:
    if not text:
        raise SessionRefused(
            Refused.MISSING, f"{STATE_FIELD}: the state of the session is missing: ask at the address that was given"
        )
    if len(text) > MOST_CHARS:
        raise SessionRefused(
            Refused.TOO_LONG, f"{STATE_FIELD}: {len(text)} characters are more than the {MOST_CHARS} a state has"
        )
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise SessionRefused(Refused.MALFORMED, f"{STATE_FIELD}: the state is not base64url: {error}") from error
    if len(data) <= _HEAD_BYTES:
        raise SessionRefused(Refused.MALFORMED, f"{STATE_FIELD}: the state breaks off after {len(data)} bytes")
    return data


def _key_id(key: bytes) -> bytes:
    return blake2b(key, digest_size=_KEY_ID_BYTES, person=b"lowtide-key-id").digest()


def _tag(key: bytes, head: bytes, body: bytes) -> bytes:
    return blake2b(head + body, key=key, digest_size=_TAG_BYTES, person=_PERSON).digest()
