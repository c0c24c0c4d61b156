"""What of a request counts in a pull-through service, and which stored variants may be served."""

from __future__ import annotations

from oca.config import PullService
from oca.http.caching.reuse import Use, decide
from oca.http.caching.stored import Freshness, LifetimeSource, StoredResponse, pack_stored
from oca.link.variants import Service, read_entries, read_entry
from oca.store.pulled import PulledVariant
from oca.store.purge import PurgeMode

SETTINGS = PullService("web", ("cdn.example",), ("http://origin.example",), request_fields=("Accept", "X-Own"))
STORED = StoredResponse(200, (), (), 1.0, 1.0, 1.0, Freshness(600.0, LifetimeSource.MAX_AGE, 0.0))
VARIANT = PulledVariant(b"v" * 32, 5, 0, 1.0, pack_stored(STORED))


def test_only_fields_of_the_list_go_upstream_and_only_those_and_directives_decide() -> None:
    service = Service.of(SETTINGS)
    headers = {
        b"accept": b"a",
        b"x-own": b"x",
        b"cookie": b"c",
        b"cache-control": b"no-cache",
        b"pragma": b"no-cache",
        b"cdn-loop": b"tier",
        b"range": b"bytes=0-1",
        b"if-none-match": b'"e"',
    }
    asked = service.asked(headers)
    assert {name for name, _ in asked} == {b"accept", b"x-own", b"cache-control", b"pragma", b"cdn-loop"}
    assert {name for name, _ in service.upstream(asked)} == {b"accept", b"x-own", b"cdn-loop"}


def test_the_same_request_asks_in_the_same_words_whatever_the_order_of_its_fields() -> None:
    service = Service.of(SETTINGS)
    assert service.asked({b"accept": b"a", b"x-own": b"x"}) == service.asked({b"x-own": b"x", b"accept": b"a"})


def test_all_parameters_are_kept_or_those_of_the_list() -> None:
    assert Service.of(SETTINGS).kept_parameters is None
    narrow = PullService("web", ("h",), ("http://o",), query_parameters=("page",))
    assert Service.of(narrow).kept_parameters == frozenset(("page",))


def test_what_was_purged_is_no_entry_and_what_was_softly_purged_is_stale() -> None:
    kept = read_entry(VARIANT, None)
    assert kept is not None
    assert kept.stored == STORED
    assert read_entry(VARIANT, PurgeMode.HARD) is None
    soft = read_entry(VARIANT, PurgeMode.SOFT)
    assert soft is not None
    assert soft.stored != STORED
    assert decide(b"GET", {}, [kept.stored], 1.0).use is Use.HIT
    assert decide(b"GET", {}, [soft.stored], 1.0).use is not Use.HIT
    other = PulledVariant(b"w" * 32, 5, 0, 1.0, b"\xffnot ours")
    assert [entry.variant for entry in read_entries((VARIANT, other), lambda _: None)] == [VARIANT]
