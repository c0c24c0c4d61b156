"""10,000 random exchanges: our decisions against a literal transcription of the RFCs (`oracle`). Any difference fails, with the case in words."""

from __future__ import annotations

from collections import Counter

import pytest

from oca.http.caching.keeping import Received, stored_response
from oca.http.caching.reuse import after_error, decide
from oca.http.caching.stored import StoredResponse, Terms, pack_stored, unpack_stored
from oca.http.caching.storing import may_store
from tests.oca.http.caching import oracle
from tests.oca.http.caching.chance import case_of
from tests.oca.http.caching.oracle import Case

CASES = 10_000
BATCHES = 10


def _headers(asked: dict[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in asked.items()}


def _received(case: Case) -> Received:
    fields = tuple((name.encode(), value.encode()) for name, value in case.response)
    return Received(case.status, fields, float(case.requested_at), float(case.received_at), case.complete)


def _terms(case: Case) -> Terms:
    return Terms(
        negative_ttl_s=float(case.negative_ttl),
        server_error_ttl_s=float(case.server_error_ttl),
        heuristic_ceiling_s=float(case.ceiling),
        stale_while_revalidate_s=float(case.stale_while_revalidate),
        stale_if_error_s=float(case.stale_if_error),
    )


def _stored(case: Case) -> StoredResponse:
    storing = may_store(case.method.encode(), _headers(case.asked), _received(case), _terms(case))
    found = stored_response(_received(case), _headers(case.asked), _terms(case), storing.stripped)
    again = unpack_stored(pack_stored(found))
    assert again == found
    return found


@pytest.mark.parametrize("batch", range(BATCHES))
def test_what_is_stored_is_what_the_rfc_allows(batch: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(batch, CASES, BATCHES):
        case = case_of(seed)
        found = may_store(case.method.encode(), _headers(case.asked), _received(case), _terms(case))
        expected = oracle.storing(case)
        broken = [clause for clause, holds in oracle.STORED_ONLY_IF if not holds(case)]
        assert found.how.value == expected, (seed, found.reason, broken, case)
        seen[expected] += 1
    assert min(seen[word] for word in ("not", "blocks", "whole")) > CASES / BATCHES / 20, seen


@pytest.mark.parametrize("batch", range(BATCHES))
def test_lifetime_and_age_are_those_of_the_rfc(batch: int) -> None:
    for seed in range(batch, CASES, BATCHES):
        case = case_of(seed)
        if oracle.storing(case) == "not":
            continue
        found = _stored(case)
        assert found.freshness.lifetime_s == oracle.lifetime(case), (seed, case)
        assert found.age_s(case.now) == oracle.age(case, case.now), (seed, case)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_a_later_request_gets_what_the_rfc_gives_it(batch: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(batch, CASES, BATCHES):
        case = case_of(seed)
        if oracle.storing(case) == "not":
            continue
        later = _headers(case.later)
        found = decide(case.later_method.encode(), later, [_stored(case)], float(case.now))
        expected = oracle.reuse(case)
        assert found.use.value == expected, (seed, found.reason, case)
        seen[expected] += 1
        for status in (None, 500, 501, 503, 404):
            stands_in = after_error(later, _stored(case), status, float(case.now)).use.value
            assert stands_in == oracle.reuse_after_error(case, status), (seed, status, case)
    for word in ("hit", "hit-stale", "refresh", "revalidate", "fetch", "unsatisfiable"):
        assert seen[word] >= 3, seen
