"""Making playback's media key known: enrol, then `PUT /v1/keys/KID` until the control plane has it, and look again; what
the key set says of revoked sessions is handed on.

Laws: serving never waits for this; a key that was accepted once (noted beside it) makes the service ready again after a
restart, whether the control plane is there or not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from prometheus_client import Gauge

from chassis.client import ServiceClient
from chassis.clock import Clock
from chassis.enrolment import ensure_enrolled
from chassis.errors import CertificateError, ServiceError
from chassis.health import NotReady
from chassis.logs import get_logger
from chassis.tls import client_context
from companions.playback.config import ControlPlane
from companions.signing import OwnKey
from contracts.enrolment import PeerKind
from contracts.keys import KeySet, KeyUse

_LOG = get_logger("companions.playback")
Revoke = Callable[[Collection[str]], Awaitable[None]]


class KeyRegistration:
    """Run `run()` in the background. `revoke(ids)` is told of sessions that the key set names and did not name before."""

    def __init__(
        self, settings: ControlPlane, key: OwnKey, note: Path, gauge: Gauge, revoke: Revoke, clock: Clock
    ) -> None:
        self._settings = settings
        self._key = key
        self._note = note
        self._gauge = gauge
        self._revoke = revoke
        self._revoked: frozenset[str] = frozenset()
        self._clock = clock
        self._accepted = note.exists() and note.read_text(encoding="ascii").strip() == key.kid
        gauge.set(int(self._accepted))

    async def check(self) -> str:
        """For `/readyz`."""
        if not self._accepted:
            raise NotReady("the control plane does not know the media key yet: appliances would refuse its tokens")
        return f"the control plane knows {self._key.kid}"

    async def run(self) -> None:
        """Never returns; failures are logged and tried again."""
        while True:
            try:
                await self._keep_registered()
            except (ServiceError, CertificateError) as error:
                _LOG.warning("media-key-not-registered", kid=self._key.kid, detail=str(error))
            await self._clock.sleep(self._settings.retry_s)

    async def _keep_registered(self) -> None:
        settings = self._settings
        files = await ensure_enrolled(
            settings.url,
            settings.code_file,
            kind=PeerKind.SERVICE,
            name=settings.name,
            folder=settings.folder,
            clock=self._clock,
        )
        async with ServiceClient(settings.url, ssl=client_context(files=files), clock=self._clock) as control_plane:
            while True:
                known = await control_plane.get("/v1/keys", KeySet)
                if self._key.kid not in known.of(KeyUse.MEDIA):
                    await control_plane.put(f"/v1/keys/{self._key.kid}", self._key.public, KeySet)
                    _LOG.info("media-key-registered", kid=self._key.kid)
                self._accept()
                await self._hand_on(frozenset(known.revoked_sessions))
                await self._clock.sleep(settings.check_s)

    async def _hand_on(self, revoked: frozenset[str]) -> None:
        new = revoked - self._revoked
        if new:
            await self._revoke(new)
        self._revoked = revoked

    def _accept(self) -> None:
        self._gauge.set(1)
        if not self._accepted:
            self._accepted = True
            self._note.write_text(self._key.kid + "\n", encoding="ascii")
