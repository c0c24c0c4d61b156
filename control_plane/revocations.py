"""Revoked sessions: a bounded list, each with the moment when it is forgotten, handed out with the key set."""

from __future__ import annotations

from chassis.logs import get_logger
from contracts.keys import MAX_REVOKED, Revocation, RevocationRequest
from contracts.tokens.claims import MAX_SESSION_CHARS
from control_plane.archive import access as access_archive
from control_plane.archive import places as place_archive
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, unknown

LONGEST_S = 366 * 86_400.0


class Revocations:
    """In memory and in the archive. A change raises the number of the key set and nudges every appliance."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._kept: dict[str, Revocation] = {}

    async def load(self) -> None:
        async with self._desk.database.read() as session:
            self._kept = {found.session: found for found in await access_archive.revocations(session)}

    def current(self) -> tuple[Revocation, ...]:
        """Those that are not forgotten yet, by session."""
        now = self._desk.clock.wall_s()
        return tuple(found for _, found in sorted(self._kept.items()) if found.expires_at > now)

    async def revoke(self, wanted: RevocationRequest, operator: str) -> Revocation:
        """Again for a revoked session changes its end and reason. Raises ProblemError: UNPROCESSABLE, CONFLICT (the list is full)."""
        wrong = _wrong(wanted)
        if wrong:
            raise contradiction(wrong)
        now = self._desk.clock.wall_s()
        made = Revocation(wanted.session, now, now + wanted.valid_s, wanted.reason)
        async with self._desk.alone():
            current = {found.session: found for found in self.current()}
            if made.session not in current and len(current) >= MAX_REVOKED:
                raise conflict(
                    f"{MAX_REVOKED} sessions are revoked, and every appliance holds the whole list: "
                    "let playback sign with a new key, and end the old one, instead"
                )
            number = await self._store(made, operator)
            self._kept = {**current, made.session: made}
            self._tell(number)
        get_logger("control_plane.keys").info("session-revoked", session=made.session, until=made.expires_at)
        return made

    async def restore(self, name: str, operator: str) -> None:
        """The session's tokens open again what they say. Raises ProblemError NOT_FOUND."""
        async with self._desk.alone():
            if name not in {found.session for found in self.current()}:
                raise unknown("revoked session", name)
            async with self._desk.archive() as session:
                await access_archive.drop_revocations(session, name=name)
                await access_archive.note(session, self._desk.clock.wall_s(), operator, "restore-session", name)
                number = await place_archive.add_to_counter(session, place_archive.KEYS_NUMBER)
            del self._kept[name]
            self._tell(number)

    async def _store(self, made: Revocation, operator: str) -> int:
        async with self._desk.archive() as session:
            await access_archive.drop_revocations(session, before=made.revoked_at)
            await access_archive.put_revocation(session, made)
            await access_archive.note(session, made.revoked_at, operator, "revoke-session", made.session, made.reason)
            return await place_archive.add_to_counter(session, place_archive.KEYS_NUMBER)

    def _tell(self, number: int) -> None:
        self._desk.registry.keys_number = number
        self._desk.nudge_all()


def _wrong(wanted: RevocationRequest) -> tuple[str, ...]:
    wrong: list[str] = []
    if not 0 < len(wanted.session) <= MAX_SESSION_CHARS:
        wrong.append(f"session: must be 1 to {MAX_SESSION_CHARS} characters")
    if not 0 < wanted.valid_s <= LONGEST_S:
        wrong.append(f"valid_s: {wanted.valid_s:g} is not above 0 and at most {LONGEST_S:.0f}")
    return tuple(wrong)
