"""What operators change: sites, appliances, states. Each change and its line in the audit log are one transaction."""

from __future__ import annotations

import ipaddress
import math

import msgspec

from chassis.logs import get_logger
from contracts.places import Appliance, ApplianceRegistration, ApplianceState, PopularityKind, Site, StateChange
from contracts.urls import is_name
from control_plane import lifecycle, windows
from control_plane.archive import access as access_archive
from control_plane.archive import places as place_archive
from control_plane.desk import Desk
from control_plane.errors import conflict, contradiction, unknown
from control_plane.heartbeats import Heartbeats
from control_plane.registry import Box

REMOVABLE = frozenset({ApplianceState.ENROLLING, ApplianceState.RETIRED})
MAX_SHARE = 1.0


class Operators:
    """The operators' changes."""

    def __init__(self, desk: Desk, heartbeats: Heartbeats) -> None:
        self._desk = desk
        self._heartbeats = heartbeats

    async def put_site(self, site_id: str, site: Site, operator: str) -> Site:
        """Raises ProblemError UNPROCESSABLE."""
        wrong = wrong_site(site_id, site)
        if wrong:
            raise contradiction(wrong)
        desk = self._desk
        async with desk.alone():
            async with desk.archive() as session:
                await place_archive.put_site(session, site)
                await access_archive.note(session, self._now(), operator, "put-site", site_id, _json(site))
            desk.tell(desk.registry.put_site(site))
        return site

    async def drop_site(self, site_id: str, operator: str) -> None:
        """With its traffic. Raises ProblemError: NOT_FOUND, CONFLICT while it has appliances."""
        desk = self._desk
        async with desk.alone():
            if site_id not in desk.registry.sites:
                raise unknown("site", site_id)
            boxes = desk.registry.at_site(site_id)
            if boxes:
                names = ", ".join(box.id for box in boxes)
                raise conflict(f"site {site_id} still has appliances: {names}; retire and delete them first")
            async with desk.archive() as session:
                await place_archive.drop_site(session, site_id)
                await access_archive.note(session, self._now(), operator, "delete-site", site_id)
            desk.tell(desk.registry.drop_site(site_id))

    async def put_appliance(self, box_id: str, registration: ApplianceRegistration, operator: str) -> Appliance:
        """Raises ProblemError: UNPROCESSABLE (values, an unknown site)."""
        desk = self._desk
        async with desk.alone():
            wrong = wrong_registration(box_id, registration)
            if registration.site_id not in desk.registry.sites:
                wrong = (*wrong, f"site_id: there is no site {registration.site_id!r}")
            if wrong:
                raise contradiction(wrong)
            async with desk.archive() as session:
                await place_archive.put_box(session, registration, ApplianceState.ENROLLING)
                await access_archive.note(session, self._now(), operator, "put-appliance", box_id, _json(registration))
            desk.tell(desk.registry.put_box(registration))
            return desk.registry.boxes[box_id].appliance()

    async def drop_appliance(self, box_id: str, operator: str) -> None:
        """With its reports, not with the traffic of its site. Raises ProblemError: NOT_FOUND, CONFLICT."""
        desk = self._desk
        async with desk.alone():
            box = self.box(box_id)
            if box.state not in REMOVABLE:
                raise conflict(f"appliance {box_id} is {box.state.value}; only a retired one can be deleted")
            async with desk.archive() as session:
                await place_archive.drop_box(session, box_id)
                await access_archive.note(session, self._now(), operator, "delete-appliance", box_id)
            desk.tell(desk.registry.drop_box(box_id))
        await self._heartbeats.close(box_id, "this appliance was deleted")

    async def change_state(self, box_id: str, wanted: StateChange, operator: str) -> Appliance:
        """Raises ProblemError: NOT_FOUND, CONFLICT where the table has no edge."""
        desk = self._desk
        async with desk.alone():
            box = self.box(box_id)
            try:
                state = lifecycle.asked(box.state, wanted.state)
            except lifecycle.WrongState as error:
                raise conflict(str(error)) from error
            async with desk.archive() as session:
                await place_archive.set_state(session, box_id, state)
                await access_archive.note(session, self._now(), operator, "change-state", box_id, _json(wanted))
            get_logger("control_plane.lifecycle").info(
                "state", appliance=box_id, before=box.state.value, after=state.value, why="operator", said=wanted.reason
            )
            desk.tell(desk.registry.set_state(box, state))
        if state is ApplianceState.RETIRED:
            await self._heartbeats.close(box_id, "this appliance was retired")
        return box.appliance()

    def box(self, box_id: str) -> Box:
        """Raises ProblemError NOT_FOUND."""
        box = self._desk.registry.boxes.get(box_id)
        if box is None:
            raise unknown("appliance", box_id)
        return box

    def _now(self) -> float:
        return self._desk.clock.wall_s()


def wrong_site(site_id: str, site: Site) -> tuple[str, ...]:
    """One line for everything that contradicts itself in a site."""
    wrong = [] if site.id == site_id and is_name(site_id) else [_wrong_id(site.id)]
    for number, prefix in enumerate(site.prefixes):
        try:
            ipaddress.ip_network(prefix.cidr)
        except ValueError as error:
            wrong.append(f"prefixes[{number}].cidr: {error}")
    if not -90 <= site.latitude <= 90:
        wrong.append("latitude: must lie between -90 and 90")
    if not -180 <= site.longitude <= 180:
        wrong.append("longitude: must lie between -180 and 180")
    return (*wrong, *_wrong_filling(site), *windows.check(site.window))


def _wrong_filling(site: Site) -> list[str]:
    wrong = []
    if site.fill_cluster and not is_name(site.fill_cluster):
        wrong.append(f"fill_cluster: {site.fill_cluster!r} is not a name")
    if site.fill_masters < 1:
        wrong.append("fill_masters: must be at least 1")
    for number, source in enumerate(site.popularity):
        if not (math.isfinite(source.weight) and source.weight > 0):
            wrong.append(f"popularity[{number}].weight: must be above 0")
        if (source.kind is PopularityKind.FEED) != bool(source.feed):
            wrong.append(f"popularity[{number}].feed: is named for kind feed, and for no other")
    return wrong


def wrong_registration(box_id: str, registration: ApplianceRegistration) -> tuple[str, ...]:
    """One line for everything that contradicts itself in a registration."""
    wrong = [] if registration.id == box_id and is_name(box_id) else [_wrong_id(registration.id)]
    if not is_name(registration.manifest_cluster):
        wrong.append(f"manifest_cluster: {registration.manifest_cluster!r} is not a name")
    if not 0 <= registration.cache_share <= MAX_SHARE:
        wrong.append("cache_share: must lie between 0 and 1")
    if registration.egress_bps <= 0:
        wrong.append("egress_bps: must be above 0")
    return tuple(wrong)


def _wrong_id(given: str) -> str:
    return f"id: {given!r} must be the name in the address: lower-case letters, digits, dots, underscores, hyphens"


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.encode(value).decode()
