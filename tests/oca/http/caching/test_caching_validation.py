"""What an answer to a validation does to what is stored (RFC 9111 §3.2, §4.3.3 to §4.3.5)."""

from __future__ import annotations

from random import Random

import pytest

from oca.http.caching.fields import Fields
from oca.http.caching.keeping import Received
from oca.http.caching.reuse import Use, decide
from oca.http.caching.stored import StoredResponse
from oca.http.caching.storing import StoringReason
from oca.http.caching.validation import merge, not_modified, on_head
from tests.oca.http.caching.shapes import NOW, TERMS, fields, http_date, received, stored

KEPT = (
    'etag: "a"\ndate: {now}\ncache-control: max-age=60\ncontent-length: 9\ncontent-type: a/b\ncontent-encoding: br\n'
    "x-a: 1\nx-a: 2\nlast-modified: {now-900}"
)


def updated(kept: StoredResponse, text: str) -> StoredResponse:
    found = not_modified({}, [kept], kept, received(text, 304, at=NOW + 70, took=2), TERMS)
    assert len(found) == 1
    return found[0].stored


def test_a_304_renews_freshness_age_and_header_and_leaves_the_bytes_facts_alone() -> None:
    kept = stored(KEPT)
    after = updated(
        kept,
        'etag: W/"a"\ndate: {now+70}\nage: 5\nx-a: 3\nx-b: 4\ncontent-type: c/d\ncontent-length: 0\ncontent-range: bytes 0-0/1\n'
        "content-encoding: gzip\ncontent-digest: x\nconnection: x-c\nx-c: 1",
    )
    assert after.fields == fields(
        'etag: "a"\ncache-control: max-age=60\ncontent-encoding: br\nlast-modified: {now-900}\n'
        "date: {now+70}\nx-a: 3\nx-b: 4\ncontent-type: c/d"
    )
    assert (after.size, after.version, after.etag, after.status) == (9, kept.version, b'"a"', 200)
    assert after.age_s(NOW + 70) == 7
    assert decide(b"GET", {}, [kept], NOW + 71).use is Use.REVALIDATE
    assert decide(b"GET", {}, [after], NOW + 71).use is Use.HIT


def test_directives_of_the_304_replace_those_that_were_stored() -> None:
    assert updated(stored(KEPT), "cache-control: max-age=5").freshness.lifetime_s == 5
    assert updated(stored(KEPT), "cdn-cache-control: max-age=6").freshness.lifetime_s == 6
    assert updated(stored(KEPT), "x-a: 5").freshness.lifetime_s == 60


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cache-control: no-store", StoringReason.NO_STORE),
        ("cache-control: private", StoringReason.PRIVATE),
        ("vary: *", StoringReason.VARY_ALL),
        ("set-cookie: a=b", StoringReason.SET_COOKIE),
        ("x: y", None),
    ],
)
def test_a_304_can_end_a_stored_response(text: str, reason: StoringReason | None) -> None:
    kept = stored(KEPT)
    assert [found.forget for found in not_modified({}, [kept], kept, received(text, 304, at=NOW + 70), TERMS)] == [
        reason
    ]


def test_a_field_that_the_304_makes_private_goes_from_what_is_stored() -> None:
    after = updated(stored(KEPT), 'cache-control: max-age=9, private="x-a"')
    assert all(name != b"x-a" for name, _value in after.fields)


@pytest.mark.parametrize(
    ("kept", "text", "chosen"),
    [
        (['etag: "a"'], 'etag: "a"', [0]),
        (['etag: "b"'], 'etag: "a"', []),
        (['etag: W/"a"'], 'etag: "a"', []),
        (['etag: "a"', 'etag: "a"\ndate: {now-9}', 'etag: "b"'], 'etag: "a"', [0, 1]),
        (['etag: "a"\ndate: {now-9}', 'etag: "a"\ndate: {now-5}'], 'etag: W/"a"', [1]),
        (['etag: W/"a"'], 'etag: W/"a"', [0]),
        (['etag: W/"a"'], 'etag: W/"b"', []),
        (["last-modified: {now-600}\ndate: {now}"], "last-modified: {now-600}\ndate: {now+70}", [0]),
        (["last-modified: {now-500}\ndate: {now}"], "last-modified: {now-600}\ndate: {now+70}", []),
        (["last-modified: {now-600}\ndate: {now}"], "last-modified: {now-600}", [0]),
        (
            ['etag: "b"\nlast-modified: {now-600}\ndate: {now}'],
            'etag: "a"\nlast-modified: {now-600}\ndate: {now+70}',
            [],
        ),
    ],
)
def test_a_304_updates_the_stored_responses_that_its_validators_name(
    kept: list[str], text: str, chosen: list[int]
) -> None:
    variants = [stored(each + "\ncache-control: max-age=60") for each in kept]
    found = not_modified({}, variants, variants[0], received(text, 304, at=NOW + 70), TERMS)
    assert sorted(variants.index(each.before) for each in found) == chosen


def test_a_304_without_any_validator_answers_the_one_that_was_sent() -> None:
    one, other = stored(KEPT), stored(KEPT.replace('"a"', '"b"'))
    bare = received("date: {now+70}", 304, at=NOW + 70)
    assert [found.before for found in not_modified({}, [one, other], other, bare, TERMS)] == [other]
    assert not_modified({}, [one, other], None, bare, TERMS) == ()
    lone = stored("cache-control: max-age=60")
    assert [found.before for found in not_modified({}, [lone], None, bare, TERMS)] == [lone]


def test_only_variants_that_the_request_could_have_got_are_updated_and_the_one_asked_about_comes_first() -> None:
    text = KEPT + "\nvary: accept"
    asked = {b"accept": b"a/b"}
    one = stored(text, asked=asked)
    same = stored(KEPT.replace("{now}", "{now-5}"))
    other = stored(text, asked={b"accept": b"c/d"})
    new = received('etag: "a"\nvary: accept, x-q', 304, at=NOW + 70)
    found = not_modified(asked, [other, same, one], one, new, TERMS)
    assert [each.before for each in found] == [one, same]
    assert found[0].stored.vary == ((b"accept", b"a/b"), (b"x-q", None))
    assert found[1].stored.vary == ()


def test_the_merge_keeps_repeated_fields_together_and_adds_new_ones() -> None:
    kept = stored("set-x: 1\nset-x: 2\nx-b: 1")
    assert merge(kept, fields("set-x: 3\nset-x: 4\nx-c: 5")) == fields("x-b: 1\nset-x: 3\nset-x: 4\nx-c: 5")
    assert merge(kept, ()) == kept.fields


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ('etag: "a"\ncontent-length: 9\nlast-modified: {now-900}', True),
        ("x-a: 1", True),
        ('etag: "b"', False),
        ('etag: W/"a"', False),
        ("content-length: 8", False),
        ("last-modified: {now-901}", False),
    ],
)
def test_a_head_updates_what_it_agrees_with_and_turns_the_rest_stale(text: str, agrees: bool) -> None:
    kept = stored(KEPT)
    found = on_head({}, [kept], received(text + "\ncache-control: max-age=90", 200, at=NOW + 5), TERMS)
    assert len(found) == 1
    after = found[0].stored
    assert after.freshness.purged != agrees
    assert after.freshness.lifetime_s == (90 if agrees else 60)
    assert (decide(b"GET", {}, [after], NOW + 6).use is Use.HIT) == agrees
    assert on_head({}, [kept], received(text, 404), TERMS) == ()


def _identified(variants: list[Fields], answer: Fields) -> list[int]:
    """§4.3.4 word by word, for responses with one `Date` each and validators that are well-formed. Newest first."""

    def value(header: Fields, name: bytes) -> bytes | None:
        return dict(header).get(name)

    def strong(header: Fields) -> set[bytes]:
        tag, changed = value(header, b"etag"), value(header, b"last-modified")
        tags = {tag} if tag is not None and tag[:2] != b"W/" else set()
        return tags | ({changed} if changed == http_date(NOW - 900) else set())

    def weak(header: Fields) -> set[bytes]:
        tag, changed = value(header, b"etag"), value(header, b"last-modified")
        return {each.removeprefix(b"W/") for each in (tag, changed) if each is not None}

    if strong(answer):
        same = [at for at, header in enumerate(variants) if strong(header) & strong(answer)]
        tag = value(answer, b"etag")
        told = (
            tag is not None and tag[:2] != b"W/"
        )  # ours: a tag that both have and that differs outweighs an equal date
        return [at for at in same if not told or value(variants[at], b"etag") in (None, tag)]
    if weak(answer):
        for at in range(len(variants)):
            both = value(answer, b"etag") is not None and value(variants[at], b"etag") is not None
            found, wanted = weak(variants[at]), weak(answer)
            if both:  # ours: tags outweigh dates
                found, wanted = ({each for each in of if each.startswith(b'"')} for of in (found, wanted))
            if found & wanted:
                return [at]
        return []
    return [0] if len(variants) == 1 and not weak(variants[0]) else []


def _validators(chance: Random) -> str:
    tag = chance.choice(["", 'etag: "a"\n', 'etag: "b"\n', 'etag: W/"a"\n', 'etag: W/"b"\n'])
    return tag + chance.choice(["", "last-modified: {now-900}\n", "last-modified: {now-20}\n"])


def test_2000_random_304s_update_what_the_rfc_identifies() -> None:
    sizes = set()
    for seed in range(2000):
        chance = Random(seed)
        texts = [_validators(chance) + f"date: {{now-{age}}}" for age in range(chance.randint(1, 4))]
        new = fields(_validators(chance) + "date: {now+5}")
        variants = [stored(text) for text in texts]
        answer = Received(304, new, NOW + 5, NOW + 5)
        found = not_modified({}, chance.sample(variants, len(variants)), None, answer, TERMS)
        expected = _identified([fields(text) for text in texts], new)
        chosen = sorted(next(at for at, each in enumerate(variants) if each is one.before) for one in found)
        assert chosen == expected, (seed, texts, new)
        sizes.add(len(chosen))
    assert {0, 1, 2} <= sizes
