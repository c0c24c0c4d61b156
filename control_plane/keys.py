"""Public keys as everybody gets them, and the signed digest lists."""

from __future__ import annotations

import asyncio
import re

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey

from chassis.logs import get_logger
from contracts.digests import SignedDigests
from contracts.keys import KeyEnding, KeySet, KeyUse, PublicKey
from contracts.plans import AppliancePlan
from control_plane.archive import access as access_archive
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import places as place_archive
from control_plane.authority import Authority
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, forbidden, unknown
from control_plane.revocations import Revocations

ALGORITHMS = {"ES256": "EC", "EdDSA": "OKP", "Ed25519": "OKP"}
_KID_RE = re.compile(r"[A-Za-z0-9._~-]{1,128}")
LONGEST_S = 366 * 86_400.0
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})


class Keys:
    """The key set, in memory and in the archive."""

    def __init__(
        self, desk: Desk, authority: Authority, publishers: dict[KeyUse, tuple[str, ...]], revocations: Revocations
    ) -> None:
        self._desk = desk
        self._revocations = revocations
        self._authority = authority
        self._publishers = publishers
        self._keys: dict[str, tuple[str, PublicKey]] = {}
        self._handed: dict[str, tuple[AppliancePlan, AppliancePlan]] = {}
        """By appliance: its plan, and the same with credentials."""

    async def load(self) -> None:
        """At a start: what was published before, and the own key, which is published when it is new."""
        desk, own = self._desk, self._authority.digests_key
        async with desk.database.read() as session:
            self._keys = await access_archive.keys(session)
        if self._keys.get(own.kid, ("", None))[1] != own:
            async with desk.alone():
                await self._store(own, "")

    def current(self) -> KeySet:
        """What has not expired. The number grows with every key and revocation that is made or changed."""
        now = self._desk.clock.wall_s()
        keys = tuple(key for _, key in self._keys.values() if key.not_after is None or key.not_after > now)
        revoked = tuple(found.session for found in self._revocations.current())
        return KeySet(self._desk.registry.keys_number, keys, revoked)

    async def publish(self, kid: str, key: PublicKey, publisher: str) -> KeySet:
        """Raises ProblemError: UNPROCESSABLE (not such a key), FORBIDDEN (not this service's business), CONFLICT."""
        wrong = wrong_key(kid, key)
        if wrong:
            raise contradiction(wrong)
        allowed = self._publishers.get(key.use, ())
        if publisher not in allowed:
            words = " or ".join(allowed) or "nobody but the control plane"
            raise forbidden(f"keys for {key.use.value} are published by {words}, not by {publisher}")
        async with self._desk.alone():
            before = self._keys.get(kid)
            if before is not None and before[0] != publisher:
                raise conflict(f"key {kid} was published by {before[0] or 'the control plane'}")
            if before is not None and _outlives(key, before[1]):
                raise conflict(
                    f"key {kid} ends at {before[1].not_after:.0f}, and an end never moves away: make a new key"
                )
            if before is None or before[1] != key:
                await self._store(key, publisher)
        return self.current()

    async def end(self, kid: str, ending: KeyEnding, operator: str) -> PublicKey:
        """A key's last moment; one that comes sooner stays. Raises ProblemError: NOT_FOUND, CONFLICT (our own), UNPROCESSABLE."""
        if not 0 <= ending.in_s <= LONGEST_S:
            raise contradiction((f"in_s: {ending.in_s:g} is not between 0 and {LONGEST_S:.0f}",))
        async with self._desk.alone():
            if kid not in {key.kid for key in self.current().keys}:
                raise unknown("key", kid)
            publisher, key = self._keys[kid]
            if not publisher:
                raise conflict(f"key {kid} is the control plane's own")
            now = self._desk.clock.wall_s()
            ended = msgspec.structs.replace(key, not_after=now + ending.in_s)
            if not _outlives(ended, key):
                await self._store(ended, publisher, (now, operator))
        return self._keys[kid][1]

    async def digests(self, key: str) -> SignedDigests:
        """Signed at the first call and kept. Raises ProblemError NOT_FOUND."""
        async with self._desk.database.read() as session:
            row = await catalogue_archive.digests(session, key)
        if row is None:
            raise unknown("published file", key)
        if row.signed is not None and row.signed_by == self._authority.kid:
            return SignedDigests(row.signed)
        signed = self._authority.sign_digests(row.document)
        async with self._desk.alone(), self._desk.archive() as session:
            await catalogue_archive.keep_signed(session, key, row.document, signed, self._authority.kid)
        return SignedDigests(signed)

    async def with_credentials(self, plan: AppliancePlan) -> AppliancePlan:
        """The plan as its appliance gets it: with what it shows to others for each order. Signed once and kept in memory."""
        handed = self._handed.get(plan.appliance_id)
        if handed is not None and handed[0] is plan:
            return handed[1]
        closes_at = self._desk.calendar.machine_s(plan.window_closes_at)
        signed = await asyncio.to_thread(self._authority.sign_fills, plan, closes_at)
        self._handed[plan.appliance_id] = (plan, signed)
        return signed

    async def _store(self, key: PublicKey, publisher: str, ended: tuple[float, str] | None = None) -> None:
        """`ended`: when an operator ended it, and who, for the audit log."""
        desk = self._desk
        async with desk.archive() as session:
            await access_archive.put_key(session, key, publisher)
            if ended is not None:
                await access_archive.note(session, *ended, "end-key", key.kid, f"{key.not_after:.0f}")
            number = await place_archive.add_to_counter(session, place_archive.KEYS_NUMBER)
        self._keys[key.kid] = (publisher, key)
        desk.registry.keys_number = number
        desk.nudge_all()
        get_logger("control_plane.keys").info("key-published", kid=key.kid, use=key.use.value, publisher=publisher)


def wrong_key(kid: str, key: PublicKey) -> tuple[str, ...]:
    """One line for everything that keeps a key from being published."""
    wrong: list[str] = []
    if key.kid != kid or _KID_RE.fullmatch(kid) is None:
        wrong.append(f"kid: {key.kid!r} must be the one in the address, of at most 128 unreserved characters")
    if key.alg not in ALGORITHMS:
        wrong.append(f"alg: {key.alg!r} is not one of {', '.join(ALGORITHMS)}")
    elif key.jwk.get("kty") != ALGORITHMS[key.alg]:
        wrong.append(f"jwk: a key for {key.alg} has kty {ALGORITHMS[key.alg]}")
    if _PRIVATE & key.jwk.keys():
        wrong.append("jwk: holds a private key; never send one")
    if not wrong and not _is_public_key(key):
        wrong.append("jwk: is not a public key on P-256 or Ed25519")
    return tuple(wrong)


def _outlives(key: PublicKey, before: PublicKey) -> bool:
    return before.not_after is not None and (key.not_after is None or key.not_after > before.not_after)


def _is_public_key(key: PublicKey) -> bool:
    try:
        made = ECKey.import_key(dict(key.jwk)) if key.jwk["kty"] == "EC" else OKPKey.import_key(dict(key.jwk))
        fitting = made.public_key is not None
    except (JoseError, ValueError, TypeError, KeyError):
        return False
    return fitting and key.jwk.get("crv") in ("P-256", "Ed25519")
