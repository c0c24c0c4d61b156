"""Who may call what on the `mtls` listener: appliances by their newest certificate, services by their name."""

from __future__ import annotations

from aiohttp import web

from chassis.auth import PeerGuard
from contracts.enrolment import PeerKind
from control_plane.authority import serial_word
from control_plane.errors import forbidden
from control_plane.lifecycle import MAY_CALL
from control_plane.registry import Box, Registry


class ApplianceGuard:
    """Admits an appliance that is registered, not retired, and shows its newest certificate; the principal is its Box."""

    scheme = "certificate"

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._peers = PeerGuard(PeerKind.APPLIANCE)

    def openapi(self) -> dict[str, object]:
        return self._peers.openapi()

    async def admit(self, request: web.Request) -> Box:
        """Raises ProblemError: CERTIFICATE_REQUIRED or FORBIDDEN."""
        peer = await self._peers.admit(request)
        box = self._registry.boxes.get(peer.name)
        if box is None:
            raise forbidden(f"appliance {peer.name} is not registered (any more)")
        if box.state not in MAY_CALL:
            raise forbidden(f"appliance {peer.name} is {box.state.value}")
        if shown_serial(request) != box.serial:
            raise forbidden(f"appliance {peer.name} has enrolled again since: this certificate is no longer accepted")
        return box


def shown_serial(request: web.Request) -> str:
    """The serial number of the client's certificate; empty without one."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    return serial_word(certificate["serialNumber"]) if certificate else ""
