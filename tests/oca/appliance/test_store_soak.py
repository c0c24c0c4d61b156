"""The short form of `make soak-store`, and that its laws can be broken."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.oca.appliance.chaos import Event
from tests.oca.appliance.crowd import End, Got
from tests.oca.appliance.samples import Sample, grown_bytes
from tests.oca.appliance.soak import Course, Report, soak
from tests.oca.appliance.world import MIB


async def test_while_everything_goes_wrong_no_byte_is_wrong_and_nothing_leaks(tmp_path: Path) -> None:
    report = await soak(Course(seconds=20.0, readers=24, films=12, pause_s=1.2), tmp_path)
    assert report.broken_laws() == [], "\n".join(report.lines())


def test_memory_grows_when_the_last_third_is_above_the_second_sixth() -> None:
    def run(late: int) -> list[Sample]:
        early = [Sample(float(n), 5, 10, 100, 0) for n in range(12)]
        return [*early, Sample(12.0, 4, 10, 10_000, 0), *(Sample(13.0 + n, 5, 10, late, 0) for n in range(6))]

    assert grown_bytes(run(100)) == 0
    assert grown_bytes(run(400)) == 300
    assert grown_bytes([]) == 0


def test_every_law_of_the_stores_soak_can_be_broken() -> None:
    def report() -> Report:
        made = Report(Course(), Counter(complete=9), Counter(dict.fromkeys(Event, 1)))
        made.at_end, made.idle_descriptors = Counter(complete=3), (100, 110)
        return made

    assert report().broken_laws() == []
    samples = [Sample(float(n), 5, 10, n * 20 * MIB, 0) for n in range(30)]
    for broken, words in (
        ({"strange": [Got(End.WRONG)]}, "must not be"),
        ({"events": Counter({Event.DISK_LOST: 3})}, "never happened: worker killed"),
        ({"ended": Counter()}, "nobody got anything"),
        ({"at_end": Counter({"complete": 2, "504": 1})}, "at the end"),
        ({"left_bytes": 4096}, "4096 bytes of extents are left"),
        ({"idle_descriptors": (100, 160)}, "60 more descriptors"),
        ({"samples": samples}, "MiB more memory"),
    ):
        made = report()
        for name, value in broken.items():
            setattr(made, name, value)
        assert any(words in law for law in made.broken_laws()), words
