"""What of pulled objects is of no more use: decided by row, bytes and clock."""

from __future__ import annotations

from pathlib import Path

import msgspec

from chassis.clock import SYSTEM_CLOCK
from oca.http.caching.stored import Freshness, LifetimeSource, StoredResponse, pack_stored
from oca.http.keys import storage_key
from oca.keeper.pruning import YOUNG_S, Useless, strays, useless
from oca.keeper.rows import Rows
from oca.keeper.storing import Storing
from oca.store.extents import key_hash
from oca.store.holdings import HeldFile
from oca.store.pulled import PulledObject, PulledVariant
from tests.oca.store.harness import MIB, StoreLab, make_file

NOW = 1_000_000.0
KEY = "web|/a"


def stored(**changes: object) -> StoredResponse:
    fresh = Freshness(600.0, LifetimeSource.MAX_AGE, 0.0)
    return msgspec.structs.replace(StoredResponse(200, (), (), NOW, NOW, NOW, fresh), **changes)


def variant(response: StoredResponse, size: int = 5, stored_at: float = NOW) -> PulledVariant:
    return PulledVariant(b"v" * 32, size, 0, stored_at, pack_stored(response))


def test_what_is_fresh_and_here_stays() -> None:
    assert useless(variant(stored()), True, NOW + 599) is None


def test_a_row_whose_bytes_have_left_goes_unless_it_is_young() -> None:
    assert useless(variant(stored()), False, NOW + YOUNG_S - 1) is None
    assert useless(variant(stored()), False, NOW + YOUNG_S + 1) is Useless.NO_BYTES
    assert useless(variant(stored(), size=0), False, NOW + YOUNG_S + 1) is None, "an empty object has no bytes to lose"


def test_what_is_stale_goes_when_nothing_can_validate_it_and_no_outage_would_show_it() -> None:
    later = NOW + 601
    assert useless(variant(stored()), True, later) is Useless.STALE_FOR_GOOD
    assert useless(variant(stored(etag=b'"e"')), True, later) is None
    lasting = Freshness(600.0, LifetimeSource.MAX_AGE, 0.0, stale_if_error_s=60.0)
    assert useless(variant(stored(freshness=lasting)), True, later) is None
    assert useless(variant(stored(freshness=lasting)), True, later + 60) is Useless.STALE_FOR_GOOD


def test_what_was_validated_lately_is_young_again() -> None:
    again = variant(stored(received_at=NOW + 1000), stored_at=NOW)
    assert useless(again, False, NOW + 1001) is None


def test_a_response_that_cannot_be_read_goes() -> None:
    assert useless(PulledVariant(b"v" * 32, 1, 0, NOW, b"?"), True, NOW) is Useless.UNREADABLE


def test_bytes_that_no_row_names_are_strays() -> None:
    known, lost, young = b"v" * 32, b"l" * 32, b"y" * 32
    rows = {KEY: PulledObject(KEY, (variant(stored()),))}
    files = [
        HeldFile(storage_key(KEY, known), known, 5, 5, 4096, None, NOW),
        HeldFile(storage_key(KEY, lost), lost, 5, 5, 4096, None, NOW),
        HeldFile(storage_key("web|/gone", lost), lost, 5, 5, 4096, None, NOW),
        HeldFile(storage_key(KEY, young), young, 5, 5, 4096, None, NOW + YOUNG_S),
        HeldFile("vod|/media/t/hd/v.mp4", lost, 5, 5, 4096, None, NOW),
    ]
    found = list(strays(files, rows.get, NOW + YOUNG_S + 1))
    assert found == [storage_key(KEY, lost), storage_key("web|/gone", lost)]


async def test_a_store_is_looked_through_for_rows_without_bytes_and_bytes_without_rows(tmp_path: Path) -> None:
    lab = StoreLab(tmp_path)
    writer = lab.open_writer()
    storing = Storing(writer, lab.extent_bytes, SYSTEM_CLOCK)
    now = lab.clock.now
    whole, evicted, lost = (bytes((number,)) * 32 for number in range(3))
    lab.store(writer, make_file(storage_key(KEY, whole), MIB))
    lab.store(writer, make_file(storage_key(KEY, lost), MIB))
    lasting = stored(received_at=now, freshness=Freshness(10_000.0, LifetimeSource.MAX_AGE, 0.0))
    variants = tuple(PulledVariant(version, MIB, 0, now, pack_stored(lasting)) for version in (whole, evicted))
    rows = Rows(storing)
    rows.put(PulledObject(KEY, variants))
    assert rows.get(KEY, key_hash(KEY)).variants == variants, "it counts before it is durable"
    await rows.settled()
    assert writer.pulled(key_hash(KEY)) == PulledObject(KEY, variants)
    gone, stray = await storing.useless_pulled(now + YOUNG_S + 1)
    assert gone == [(KEY, evicted)]
    assert stray == [storage_key(KEY, lost)]
    await storing.close()
