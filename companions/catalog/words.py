"""Text as it is searched: words without case, accents and punctuation. Pure.

Folding: NFKD, combining marks removed, case-folded, and the few letters that Unicode does not take apart. A title is
found by the beginnings of its words; words of the name weigh most.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from contracts.catalogue import TitleFacts

MAX_QUERY_WORDS = 8
MAX_WORD_CHARS = 40
NAME_WEIGHT = 8
CAST_WEIGHT = 4
GENRE_WEIGHT = 3
SYNOPSIS_WEIGHT = 1
_WORD = re.compile(r"[^\W_]+")
_WHOLE_LETTERS = str.maketrans({"ø": "o", "đ": "d", "ł": "l", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"})


def fold(text: str) -> str:
    """The text without case and accents; `ß` becomes `ss`, `ø` becomes `o`."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return unicodedata.normalize("NFKC", bare).casefold().translate(_WHOLE_LETTERS)


def words_of(text: str) -> tuple[str, ...]:
    """The folded words in order, each at most MAX_WORD_CHARS long."""
    return tuple(word[:MAX_WORD_CHARS] for word in _WORD.findall(fold(text)))


def query_words(text: str) -> tuple[str, ...]:
    """What a search asks for: distinct words, at most MAX_QUERY_WORDS."""
    return tuple(dict.fromkeys(words_of(text)))[:MAX_QUERY_WORDS]


def index_words(facts: TitleFacts) -> dict[str, int]:
    """Word → weight: where it stands decides, not how often."""
    weights: dict[str, int] = {}
    _take(weights, words_of(facts.synopsis), SYNOPSIS_WEIGHT)
    _take(weights, (word for genre in facts.genres for word in words_of(genre)), GENRE_WEIGHT)
    _take(weights, (word for name in facts.cast for word in words_of(name)), CAST_WEIGHT)
    _take(weights, words_of(facts.name), NAME_WEIGHT)
    return weights


def after(prefix: str) -> str:
    """The smallest text that is greater than every text beginning with `prefix`: the end of a range scan."""
    return prefix + "\U0010ffff"


def _take(weights: dict[str, int], words: Iterable[str], weight: int) -> None:
    for word in words:
        weights[word] = max(weight, weights.get(word, 0))
