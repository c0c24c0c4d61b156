"""Pins and blocks in the record. Each change and its line in the audit log are one transaction; the next plan goes by them."""

from __future__ import annotations

import msgspec

from chassis.logs import get_logger
from contracts.pins import Pin, PinList, PinRequest
from control_plane.archive import access as access_archive
from control_plane.archive import catalogue as catalogue_archive
from control_plane.archive import wishes as wish_archive
from control_plane.desk import Desk
from control_plane.errors import contradiction, unknown
from control_plane.pinning import wrong_pin

MOST_PINS = 100_000


class Pins:
    """The operators' pins."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def load(self) -> None:
        async with self._desk.database.read() as session:
            self._desk.metrics.pins.set(len(await wish_archive.pins(session)))

    async def add(self, wanted: PinRequest, operator: str) -> Pin:
        """Raises ProblemError UNPROCESSABLE."""
        desk, now = self._desk, self._desk.calendar.wall_s()
        async with desk.alone():
            wrong = wrong_pin(wanted, desk.registry.sites, now)
            if wrong:
                raise contradiction(wrong)
            async with desk.archive() as session:
                known = len(await wish_archive.pins(session))
                if known >= MOST_PINS:
                    raise contradiction(
                        (f"there are {known} pins already: remove some, or pin titles instead of files",)
                    )
                pin = await wish_archive.add_pin(session, Pin(0, wanted, operator, now))
                detail = msgspec.json.encode(wanted).decode()
                await access_archive.note(session, now, operator, "add-pin", str(pin.number), detail)
                files = await catalogue_archive.count_meant(session, wanted.key, wanted.title_id)
            desk.metrics.pins.set(known + 1)
        get_logger("control_plane.pins").info(
            "pin-added",
            pin=pin.number,
            kind=wanted.kind.value,
            subject=wanted.key or wanted.title_id,
            operator=operator,
        )
        return msgspec.structs.replace(pin, files=files)

    async def remove(self, number: int, operator: str) -> Pin:
        """Raises ProblemError NOT_FOUND."""
        desk = self._desk
        async with desk.alone():
            async with desk.archive() as session:
                known = await wish_archive.pins(session)
                pin = next((pin for pin in known if pin.number == number), None)
                if pin is None:
                    raise unknown("pin", str(number))
                await wish_archive.drop_pin(session, number)
                detail = msgspec.json.encode(pin.wanted).decode()
                await access_archive.note(session, desk.calendar.wall_s(), operator, "remove-pin", str(number), detail)
            desk.metrics.pins.set(len(known) - 1)
        get_logger("control_plane.pins").info("pin-removed", pin=number, operator=operator)
        return pin

    async def listed(self) -> PinList:
        async with self._desk.database.read() as session:
            known = await wish_archive.pins(session)
            counts = [await catalogue_archive.count_meant(session, p.wanted.key, p.wanted.title_id) for p in known]
        return PinList(tuple(msgspec.structs.replace(p, files=n) for p, n in zip(known, counts, strict=True)))
