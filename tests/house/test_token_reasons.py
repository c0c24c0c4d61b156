"""`docs/tokens.md` names every reason a media token opens nothing, and every claim it speaks of."""

from __future__ import annotations

import re

import msgspec

from contracts.keys import MAX_REVOKED
from contracts.problems import ProblemCode
from contracts.tokens import cat, jwt
from contracts.tokens.claims import MAX_TOKEN_CHARS, TokenRefusal
from oca.http.reasons import OF_TOKEN
from tests.house.source import ROOT

PAGE = (ROOT / "docs" / "tokens.md").read_text(encoding="utf-8")


def test_the_page_has_a_row_for_every_reason_and_no_other() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| `([a-z-]+)` \| \S", PAGE, re.MULTILINE)
    assert rows == [(why.problem, why.word) for why in TokenRefusal]


def test_a_reason_is_the_same_in_token_code_in_the_answer_and_in_the_counter() -> None:
    assert set(OF_TOKEN) == set(TokenRefusal)
    for why, outcome in OF_TOKEN.items():
        assert outcome.word == why.word
        assert outcome.problem is not None
        assert (outcome.problem.code, outcome.problem.status) == (why.problem, 403)
        assert ProblemCode.from_type(outcome.problem.type_uri) is outcome.problem


def test_the_page_names_every_claim_of_both_formats_and_the_bounds() -> None:
    named = set(re.findall(r"`([a-z0-9]+)`", PAGE))
    fields = msgspec.inspect.type_info(jwt._Claims)
    assert isinstance(fields, msgspec.inspect.StructType)
    assert sorted({field.encode_name for field in fields.fields} - named) == []
    assert sorted(set(cat.NAMES.values()) - named) == []
    assert sorted(jwt.ENFORCED - named) == []
    assert f"{MAX_REVOKED:,}" in PAGE
    assert f"{MAX_TOKEN_CHARS:,}" in PAGE
