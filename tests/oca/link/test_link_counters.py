"""The shared counters: each line its own, and nobody counts into the words of another version."""

from __future__ import annotations

import os

import pytest

from oca.http.reasons import Outcome
from oca.link.counters import Count, Counters


def test_a_line_in_use_and_the_spare_one_of_its_slot_are_summed_and_keep_what_they_counted() -> None:
    counters = Counters.create(4)
    worker, successor = Counters.attach(counters.fd).line(1), Counters.attach(counters.fd).line(3)
    for line in (worker, successor):
        line.ended(Outcome.HIT)
        line.set(Count.CONNECTIONS, 5)
    assert (counters.total(Outcome.HIT), counters.total(Count.CONNECTIONS)) == (2, 10)
    counters.forget(1)
    assert (counters.total(Outcome.HIT), counters.total(Count.CONNECTIONS)) == (2, 5)
    os.close(counters.fd)


def test_counters_of_another_version_are_not_counted_into() -> None:
    counters = Counters.create(2)
    size = os.fstat(counters.fd).st_size
    os.pwrite(counters.fd, b"\1", size - 1)
    with pytest.raises(ValueError, match="another version: restart the whole appliance"):
        Counters.attach(counters.fd)
    os.close(counters.fd)


def test_memory_of_another_size_holds_no_counters() -> None:
    fd = os.memfd_create("test")
    os.ftruncate(fd, 4096 + 8)
    with pytest.raises(ValueError, match="no lines"):
        Counters.attach(fd)
    os.close(fd)
