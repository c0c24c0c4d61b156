"""Which disks an appliance has, and what people may do with them."""

from __future__ import annotations

import msgspec
import pytest

from oca.config import Disk
from oca.link.commands import DiskDo, DiskOrder
from oca.link.roster import Choices, Refused, Roster, RosterDisk, Use, add, choices_of, drain, first_roster, remove

A, B = Disk("/a", 1 << 30), Disk("/b", 2 << 30, 2.0, "hot")
ONE = "00000000-0000-0000-0000-000000000001"


def order(path: str, quota: int = 1 << 30) -> DiskOrder:
    return DiskOrder(DiskDo.ADD, path, quota)


def started(*disks: Disk, choices: Choices | None = None) -> Roster:
    roster = first_roster(disks, choices or Choices())
    return Roster(1, tuple(msgspec.structs.replace(d, uuid=f"uuid-of-{d.path}") for d in roster.disks))


def test_without_choices_the_disks_are_those_of_the_configuration() -> None:
    roster = first_roster((A, B), Choices())
    assert [(d.path, d.quota_bytes, d.weight, d.storage_class, d.use) for d in roster.disks] == [
        ("/a", 1 << 30, 1.0, "cold", Use.ACTIVE),
        ("/b", 2 << 30, 2.0, "hot", Use.ACTIVE),
    ]


def test_an_added_disk_has_the_next_number_and_is_there_after_a_restart() -> None:
    number, roster = add(started(A, B), order("/c"), ONE, 4, is_out=False)
    assert (number, roster.generation) == (2, 2)
    again = first_roster((A, B), choices_of(roster, (A, B)))
    assert [disk.path for disk in again.disks] == ["/a", "/b", "/c"]
    assert again.disks[2].life == 0


def test_a_disk_that_is_added_and_then_listed_is_as_the_configuration_says() -> None:
    _, roster = add(started(A), order("/b", 5 << 30), ONE, 4, is_out=False)
    again = first_roster((A, B), choices_of(roster, (A,)))
    assert [(disk.path, disk.quota_bytes) for disk in again.disks] == [("/a", 1 << 30), ("/b", 2 << 30)]


def test_a_number_is_never_given_twice() -> None:
    roster = started(A, B)
    _, roster = remove(roster, "1", is_empty=False, is_out=False, by_force=True)
    number, roster = add(roster, order("/b"), "another", 4, is_out=False)
    assert number == 2
    assert roster.disks[1].use is Use.REMOVED
    assert roster.number_of("/b") == 2


def test_a_folder_with_another_disk_in_it_gets_another_number() -> None:
    number, roster = add(started(A, B), order("/b"), "replaced", 4, is_out=True)
    assert number == 2
    assert [disk.use for disk in roster.disks] == [Use.ACTIVE, Use.REMOVED, Use.ACTIVE]


def test_the_same_disk_comes_back_under_its_number_in_another_life() -> None:
    number, roster = add(started(A, B), order("/b"), "uuid-of-/b", 4, is_out=True)
    assert (number, roster.disks[1].life, roster.disks[1].use) == (1, 1, Use.ACTIVE)


def test_a_disk_that_drains_may_stay_after_all() -> None:
    _, roster = drain(started(A, B), "/b")
    assert roster.disks[1].use is Use.DRAINING
    number, roster = add(roster, order("/b"), "uuid-of-/b", 4, is_out=False)
    assert (number, roster.disks[1].life, roster.disks[1].use) == (1, 0, Use.ACTIVE)


def test_what_drains_and_what_was_removed_stays_so_over_restarts() -> None:
    _, draining = drain(started(A, B), "1")
    assert first_roster((A, B), choices_of(draining, (A, B))).disks[1].use is Use.DRAINING
    _, removed = remove(draining, "1", is_empty=True, is_out=False, by_force=False)
    assert [disk.path for disk in first_roster((A, B), choices_of(removed, (A, B))).disks] == ["/a"]


def test_an_added_disk_that_was_removed_is_forgotten() -> None:
    _, roster = add(started(A), order("/c"), ONE, 4, is_out=False)
    _, roster = remove(roster, "/c", is_empty=False, is_out=True, by_force=False)
    assert choices_of(roster, (A,)).disks == ()


@pytest.mark.parametrize(
    ("what", "words"),
    [
        (lambda r: add(r, order("/a"), "uuid-of-/a", 4, is_out=False), "takes part already"),
        (lambda r: add(r, order("/c"), ONE, 2, is_out=False), "spare_disks"),
        (lambda r: drain(r, "7"), "there is no disk 7; there are: 0 /a, 1 /b"),
        (lambda r: drain(drain(r, "0")[1], "0"), "drains already"),
        (lambda r: drain(drain(r, "0")[1], "1"), "last disk that takes new files"),
        (lambda r: remove(r, "1", is_empty=False, is_out=False, by_force=False), "drain it first"),
        (
            lambda r: remove(
                remove(r, "1", is_empty=False, is_out=True, by_force=False)[1],
                "0",
                is_empty=True,
                is_out=True,
                by_force=True,
            ),
            "only disk",
        ),
    ],
)
def test_what_would_lose_something_is_refused_in_words(what: object, words: str) -> None:
    with pytest.raises(Refused, match=words):
        what(started(A, B))  # type: ignore[operator]


def test_when_every_disk_was_removed_the_configuration_is_back() -> None:
    gone = Choices(disks=(RosterDisk("/a", 1 << 30, use=Use.REMOVED),))
    assert [disk.use for disk in first_roster((A,), gone).disks] == [Use.ACTIVE]
