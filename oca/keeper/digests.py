"""Digest lists: the wall that no wrong byte passes. A list is used only when the control plane signed it.

Lists come from `GET /v1/digests`, are verified with the digest keys of the key set (JWS, ES256, by `kid`), and kept as they
were signed in `state_dir/digests/`, so that a restart, or a control plane that is away, costs no miss; a list from the disk is
verified again. In memory and on disk the least recently used go first.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from chassis.clock import Clock
from chassis.errors import ServiceError
from chassis.logs import get_logger
from contracts.digests import DIGEST_BYTES, FileDigests, SignedDigests, block_count
from contracts.keys import KeySet, KeyUse, PublicKey
from oca.keeper.connection import ControlPlane
from oca.keeper.errors import BadDigestList, FetchFailed, NotConnected
from oca.keeper.state import write_atomically
from oca.link.messages import FetchFailure
from oca.store.purge import PurgeMode

ALGORITHM = "ES256"
MEMORY_BYTES = 64 << 20
DISK_BYTES = 512 << 20
PRUNE_EVERY = 256
UNKNOWN_FOR_S = 3.0
AWAY_FOR_S = 3.0
"""So long after the control plane did not answer, stale lists are served without asking again."""
MAX_UNKNOWN = 10_000


def verified(signed: SignedDigests, key: str, keys: Mapping[str, PublicKey]) -> FileDigests:
    """The list of `key`, signed by one of `keys` (by kid). Raises BadDigestList."""
    try:
        header = jws.extract_compact(signed.jws.encode()).headers()
    except (JoseError, ValueError) as error:
        raise BadDigestList(f"the digest list of {key} is no JWS") from error
    known = keys.get(str(header.get("kid", "")))
    if known is None or known.alg != ALGORITHM or header.get("alg") != ALGORITHM:
        raise BadDigestList(f"the digest list of {key} is signed with an unknown key ({header.get('kid')!r})")
    try:
        payload = jws.deserialize_compact(signed.jws, ECKey.import_key(dict(known.jwk)), algorithms=[ALGORITHM]).payload
        found = msgspec.json.decode(payload, type=FileDigests)
    except (JoseError, ValueError, msgspec.MsgspecError) as error:
        raise BadDigestList(f"the digest list of {key} does not verify: {error}") from error
    if found.key != key:
        raise BadDigestList(f"the digest list is of {found.key}, not of {key}")
    if len(found.blocks) != block_count(found.size_bytes) * DIGEST_BYTES or len(found.blake3) != 2 * DIGEST_BYTES:
        raise BadDigestList(f"the digest list of {key} does not fit its size of {found.size_bytes} bytes")
    return found


class KeptDigests(msgspec.Struct, frozen=True):
    """A list as it lies in the state folder, with the purge epoch in which it was asked for."""

    jws: str
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class Known:
    """A list with the epoch up to which no purge has named its key. `stale`: a soft one has, and the control plane cannot be asked."""

    digests: FileDigests
    epoch: int
    stale: bool = False


class Purged(Protocol):
    """What of `oca.store.purging` is used here."""

    epoch: int

    def since(self, key: str, epoch: int) -> PurgeMode | None: ...


class NeverPurged:
    epoch = 0

    def since(self, key: str, epoch: int) -> PurgeMode | None:
        return None


class DigestLibrary:
    """One answer per key for any number of askers. A list that was asked for before a purge of its key is asked for again."""

    def __init__(
        self,
        control_plane: ControlPlane,
        folder: Path,
        keys: Callable[[], KeySet],
        refresh_keys: Callable[[], object],
        clock: Clock,
        purges: Purged | None = None,
        *,
        serve_stale: bool = True,
    ) -> None:
        """`keys` gives the keys at hand; `refresh_keys()` is told that a list names a key that is not among them.

        `serve_stale`: while the control plane cannot be asked, a list of before a soft purge is as good as a new one, but for storing.
        """
        self._purges: Purged = purges or NeverPurged()
        self._serve_stale = serve_stale
        self._away_until_s = 0.0
        self._control_plane = control_plane
        self._folder = folder
        self._keys = keys
        self._refresh_keys = refresh_keys
        self._clock = clock
        self._lists: OrderedDict[str, Known] = OrderedDict()
        self._memory_bytes = 0
        self._asking: dict[str, asyncio.Task[Known]] = {}
        self._unknown: dict[str, float] = {}
        self._doubted: set[str] = set()
        self._written = 0
        self._log = get_logger("oca.keeper.digests")

    async def get(self, key: str, version: bytes = b"") -> FileDigests:
        """The list of `key`, of exactly `version` where one is named. Raises FetchFailed: NOT_FOUND, NO_DIGESTS, VERSION_CHANGED."""
        return (await self.known(key, version)).digests

    async def known(self, key: str, version: bytes = b"") -> Known:
        """The same, with the purge epoch."""
        found = self._at_hand(key)
        if found is not None and (not version or found.digests.version == version):
            self._lists.move_to_end(key)
            return found
        if self._unknown.get(key, 0.0) > self._clock.monotonic_s():
            raise FetchFailed(FetchFailure.NOT_FOUND, f"{key} is not published")
        was_asking = key in self._asking
        found = await self._joined(key, version)
        if was_asking and self._purges.since(key, found.epoch) is not None:
            found = await self._joined(key, version)  # somebody purged after the others had asked
        if version and found.digests.version != version:
            raise FetchFailed(
                FetchFailure.VERSION_CHANGED, f"{key} has version {found.digests.blake3}, not {version.hex()}"
            )
        return found

    def _at_hand(self, key: str) -> Known | None:
        """The list in memory, unless it has to be asked for again."""
        found = self._lists.get(key)
        if found is None:
            return None
        epoch = self._purges.epoch
        purged = self._purges.since(key, found.epoch)
        if purged is None:
            if found.epoch < epoch:
                found = self._lists[key] = Known(found.digests, epoch)
            return found
        if purged is PurgeMode.SOFT and self._serve_stale and self._away_until_s > self._clock.monotonic_s():
            return Known(found.digests, found.epoch, stale=True)
        return None

    def doubt(self, key: str) -> None:
        """Every source sent other bytes than the list names: the next asker gets a fresh one, where the control plane answers."""
        found = self._lists.pop(key, None)
        if found is not None:
            self._memory_bytes -= len(found.digests.blocks)
        self._doubted.add(key)

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _joined(self, key: str, version: bytes) -> Known:
        task = self._asking.get(key)
        if task is None:
            task = asyncio.create_task(self._find(key, version))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(task)

    def _answered(self, key: str, task: asyncio.Task[Known]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()

    async def _find(self, key: str, version: bytes) -> Known:
        epoch = self._purges.epoch
        kept = self._from_disk(key)
        purged = self._purges.since(key, kept.epoch) if kept is not None else None
        is_asked_for = kept is not None and (not version or kept.digests.version == version)
        if kept is not None and is_asked_for and purged is None and key not in self._doubted:
            return self._remember(key, Known(kept.digests, epoch))
        try:
            signed = await self._control_plane.digests(key)
        except (ServiceError, NotConnected) as error:
            self._away_until_s = self._clock.monotonic_s() + AWAY_FOR_S
            if kept is not None and purged is None:
                return self._remember(key, kept)
            if kept is not None and purged is PurgeMode.SOFT and self._serve_stale:
                self._remember(key, kept)
                return Known(kept.digests, kept.epoch, stale=True)
            raise FetchFailed(FetchFailure.NO_DIGESTS, f"no digest list of {key}: {error}") from error
        self._doubted.discard(key)
        if signed is None:
            self._note_unknown(key)
            raise FetchFailed(FetchFailure.NOT_FOUND, f"{key} is not published")
        found = Known(self._checked(key, signed), epoch)
        await asyncio.to_thread(self._to_disk, key, KeptDigests(signed.jws, epoch))
        return self._remember(key, found)

    def _checked(self, key: str, signed: SignedDigests) -> FileDigests:
        try:
            return verified(signed, key, self._keys().of(KeyUse.DIGESTS))
        except BadDigestList as error:
            self._refresh_keys()
            self._log.error("digest-list-refused", key=key, detail=str(error))
            raise FetchFailed(FetchFailure.NO_DIGESTS, str(error)) from error

    def _remember(self, key: str, found: Known) -> Known:
        before = self._lists.pop(key, None)
        self._memory_bytes += len(found.digests.blocks) - (len(before.digests.blocks) if before else 0)
        self._lists[key] = found
        while self._memory_bytes > MEMORY_BYTES and len(self._lists) > 1:
            _, oldest = self._lists.popitem(last=False)
            self._memory_bytes -= len(oldest.digests.blocks)
        return found

    def _note_unknown(self, key: str) -> None:
        now = self._clock.monotonic_s()
        if len(self._unknown) >= MAX_UNKNOWN:
            self._unknown = {name: until for name, until in self._unknown.items() if until > now}
        if len(self._unknown) < MAX_UNKNOWN:
            self._unknown[key] = now + UNKNOWN_FOR_S

    def _path(self, key: str) -> Path:
        name = blake2b(key.encode(), digest_size=16).hexdigest()
        return self._folder / name[:2] / f"{name}.json"

    def _from_disk(self, key: str) -> Known | None:
        path = self._path(key)
        try:
            kept = msgspec.json.decode(path.read_bytes(), type=KeptDigests)
            found = verified(SignedDigests(kept.jws), key, self._keys().of(KeyUse.DIGESTS))
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, BadDigestList) as error:
            self._log.info("kept-digest-list-unusable", key=key, detail=str(error))
            return None
        return Known(found, kept.epoch)

    def _to_disk(self, key: str, kept: KeptDigests) -> None:
        try:
            write_atomically(self._path(key), msgspec.json.encode(kept), durable=False)
            self._written += 1
            if self._written % PRUNE_EVERY == 0:
                self._prune()
        except OSError as error:
            self._log.warning("digest-list-not-kept", key=key, detail=str(error))

    def _prune(self) -> None:
        kept = sorted(
            ((path.stat(), path) for path in self._folder.glob("*/*.json")), key=lambda item: item[0].st_mtime
        )
        total = sum(stat.st_size for stat, _ in kept)
        for stat, path in kept:
            if total <= DISK_BYTES:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size
