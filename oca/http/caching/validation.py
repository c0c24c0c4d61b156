"""What an answer to a validation does to what is stored (RFC 9111 §3.2, §4.3.3 to §4.3.5).

Laws:
- The bytes of a stored response never change here: what describes them (`_OF_THE_BYTES`) is not updated.
- A response that may not be stored any more after the update is not kept: `Freshened.forget` says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from oca.http.caching.fields import Fields, Headers, first, joined, read_response
from oca.http.caching.freshness import date_of, freshness_of, modified_of
from oca.http.caching.keeping import Received, content_length, storable_fields, tags_of
from oca.http.caching.stored import StoredResponse, Terms, read_etag, strong_validator
from oca.http.caching.storing import How, StoringReason, may_store
from oca.http.caching.vary import matching, selecting

_OF_THE_BYTES = frozenset(
    (b"content-digest", b"content-encoding", b"content-length", b"content-md5", b"content-range", b"digest")
)
"""§3.2: what the stored bytes depend on, what is processed on arrival, and digests, which in a 304 are those of an empty body."""


@dataclass(frozen=True, slots=True)
class Freshened:
    """A stored response before and behind its update."""

    before: StoredResponse
    stored: StoredResponse
    forget: StoringReason | None = None
    """Why it may not stay: it answers this one request and is dropped."""


def not_modified(
    asked: Headers,
    variants: Sequence[StoredResponse],
    validated: StoredResponse | None,
    answer: Received,
    terms: Terms,
) -> tuple[Freshened, ...]:
    """The stored responses that a 304 updates (§4.3.4), the one that was asked about first if it is one of them.

    `asked` are the selecting fields of the request that went upstream, `validated` the response whose validators it carried. When the result does not
    have it, the 304 is about something else: the request has to be sent again without conditions.
    """
    chosen = _identified(matching(variants, asked), validated, answer)
    ordered = sorted(chosen, key=lambda stored: stored is not validated)
    return tuple(freshened(asked, stored, answer, terms, selected=stored is validated) for stored in ordered)


def _identified(
    initial: list[StoredResponse], validated: StoredResponse | None, answer: Received
) -> list[StoredResponse]:
    """§4.3.4, the first rule that applies. `initial` has the newest first."""
    strong = strong_validator(answer.fields)
    etag, changed = read_etag(answer.fields), first(answer.fields, b"last-modified")
    if strong is not None:
        return [stored for stored in initial if _shares_strong(stored, answer.fields)]
    if etag is not None or changed is not None:
        return [stored for stored in initial if _corresponds(stored, etag, changed)][:1]
    if validated is not None:  # it repeats no validator: it answers the one we sent
        return [stored for stored in initial if stored is validated]
    return initial if len(initial) == 1 and not initial[0].validates else []


def _shares_strong(stored: StoredResponse, fields: Fields) -> bool:
    """Whether one strong validator is the same in both. A tag that both have and that differs outweighs an equal date."""
    theirs = read_etag(fields)
    if stored.etag is not None and theirs is not None and not theirs.startswith(b"W/"):
        return stored.etag == theirs
    ours, said = strong_validator(_with_date(stored)), strong_validator(fields)
    return (
        ours is not None
        and said is not None
        and first(stored.fields, b"last-modified") == first(fields, b"last-modified")
    )


def _with_date(stored: StoredResponse) -> Fields:
    return tuple(field for field in stored.fields if field[0] in (b"date", b"last-modified"))


def _corresponds(stored: StoredResponse, etag: bytes | None, changed: bytes | None) -> bool:
    """Weak comparison of the tags where both have one (RFC 9110 §8.8.3.2), else the same date."""
    if etag is not None and stored.etag is not None:
        return stored.etag.removeprefix(b"W/") == etag.removeprefix(b"W/")
    return changed is not None and first(stored.fields, b"last-modified") == changed


def freshened(asked: Headers, stored: StoredResponse, answer: Received, terms: Terms, *, selected: bool) -> Freshened:
    """The update of §3.2, with freshness worked out again from the merged header. `selected`: the update answers `asked`, whose `Vary` it is."""
    merged = merge(stored, answer.fields, keep_vary=not selected)
    age = tuple(field for field in answer.fields if field[0] == b"age")
    update = Received(stored.status, merged + age, answer.requested_at, answer.received_at)
    storing = may_store(b"GET", asked, update, terms)
    said = read_response(update.fields)
    after = msgspec.structs.replace(
        stored,
        fields=storable_fields(merged, storing.stripped),
        vary=selecting(merged, asked) if selected else stored.vary,
        requested_at=answer.requested_at,
        received_at=answer.received_at,
        date=date_of(merged, answer.received_at),
        freshness=freshness_of(stored.status, update.fields, said, answer.requested_at, answer.received_at, terms),
        etag=read_etag(merged),
        modified_at=modified_of(merged, answer.received_at),
        tags=tags_of(merged),
    )
    return Freshened(stored, after, storing.reason if storing.how is How.NOT else None)


def merge(stored: StoredResponse, new: Fields, *, keep_vary: bool = False) -> Fields:
    """§3.2: each field of the new header takes the place of all stored ones of its name.

    The stored entity tag stays where there is one: at most its weakness could differ. Other variants than the one that was validated keep their
    `Vary`, since the fields of their requests are not known.
    """
    kept_names = _OF_THE_BYTES | (frozenset((b"etag",)) if stored.etag is not None else frozenset())
    kept_names |= frozenset((b"vary",)) if keep_vary else frozenset()
    update = tuple(field for field in storable_fields(new) if field[0] not in kept_names)
    replaced = {name for name, _value in update}
    return tuple(field for field in stored.fields if field[0] not in replaced) + update


def on_head(
    asked: Headers, variants: Sequence[StoredResponse], answer: Received, terms: Terms
) -> tuple[Freshened, ...]:
    """What a 200 to a HEAD that went upstream does to the stored responses to GET (§4.3.5): updated where every validator and the length that it
    has are the same, else turned stale. Empty for another status.
    """
    if answer.status != 200:
        return ()
    chosen = matching(variants, asked)
    return tuple(
        freshened(asked, stored, answer, terms, selected=position == 0)
        if _agrees(stored, answer.fields)
        else Freshened(stored, softened(stored))
        for position, stored in enumerate(chosen)
    )


def _agrees(stored: StoredResponse, fields: Fields) -> bool:
    length = content_length(fields)
    return (
        (length is None or stored.size is None or length == stored.size)
        and joined(fields, b"etag") in (None, stored.etag)
        and joined(fields, b"last-modified") in (None, first(stored.fields, b"last-modified"))
    )


def softened(stored: StoredResponse) -> StoredResponse:
    """The same, stale from now on: what a soft purge leaves, or a `HEAD` that contradicts (§4.3.5)."""
    return msgspec.structs.replace(stored, freshness=msgspec.structs.replace(stored.freshness, purged=True))


def invalid(stored: StoredResponse) -> StoredResponse:
    """The same, never sent again without validation, not even where upstream fails: what an unsafe method leaves (§4.4)."""
    return msgspec.structs.replace(stored, freshness=msgspec.structs.replace(stored.freshness, no_cache=True))
