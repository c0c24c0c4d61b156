"""The prefix tables of a world being drafted: what sites' records and their routes do to them.

Laws: what a site's record says (by hand) and what its routes say (learnt) stand side by side, neither replaces the other; a
line that is no prefix costs nobody else anything: it is left out and shown; guesses (geo databases) have a table of their own.
"""

from __future__ import annotations

from functools import lru_cache

from contracts.places import Prefix, Site
from contracts.world import Change, SiteRoutes
from steering.prefixes import Announcement, PrefixEditor, PrefixTable

LINE_PREFIXES = 500
"""In one change: applying it takes about two milliseconds, in which nobody is answered."""


class AnnouncingDraft:
    """Editors over the tables of a world, made when they are needed."""

    def __init__(self, prefixes: PrefixTable, guesses: PrefixTable, quarantined: tuple[str, ...]) -> None:
        self._tables = {False: prefixes, True: guesses}
        self._editors: dict[bool, PrefixEditor] = {}
        self._quarantined = set(quarantined)

    def put_site(self, before: Site | None, site: Site) -> None:
        old = {prefix.cidr for prefix in before.prefixes} if before is not None else set()
        for cidr in old - {prefix.cidr for prefix in site.prefixes}:
            self._drop(cidr, site.id, by_hand=True, guessed=False)
        for prefix in site.prefixes:
            self._put(prefix, site.id, by_hand=True, guessed=False)

    def drop_site(self, site: Site) -> None:
        """With its routes. The control plane withdraws those before, in pieces; here is only what it did not."""
        for prefix in site.prefixes:
            self._drop(prefix.cidr, site.id, by_hand=True, guessed=False)
        for guessed in (False, True):
            self._editor(guessed).drop_learnt(site.id)
        self._quarantined = {line for line in self._quarantined if not line.startswith(f"{site.id} ")}

    def change_routes(self, told: SiteRoutes) -> None:
        if told.full:
            self._editor(told.guessed).drop_learnt(told.site_id)
        for prefix in told.announced:
            self._put(prefix, told.site_id, by_hand=False, guessed=told.guessed)
        for cidr in told.withdrawn:
            self._drop(cidr, told.site_id, by_hand=False, guessed=told.guessed)

    def freeze(self) -> tuple[PrefixTable, PrefixTable, tuple[str, ...]]:
        """(prefixes, guesses, what is no prefix). Those that nothing touched are the tables it began with."""
        for guessed, editor in self._editors.items():
            self._tables[guessed] = editor.freeze()
        self._editors.clear()
        return self._tables[False], self._tables[True], tuple(sorted(self._quarantined))

    def _put(self, prefix: Prefix, site_id: str, *, by_hand: bool, guessed: bool) -> None:
        one = _announcement(site_id, prefix.as_path_length, prefix.med, by_hand)
        try:
            self._editor(guessed).put(prefix.cidr, one)
        except ValueError:
            self._quarantined.add(f"{site_id} {prefix.cidr}")

    def _drop(self, cidr: str, site_id: str, *, by_hand: bool, guessed: bool) -> None:
        try:
            self._editor(guessed).drop(cidr, site_id, by_hand=by_hand)
        except ValueError:
            self._quarantined.discard(f"{site_id} {cidr}")

    def _editor(self, guessed: bool) -> PrefixEditor:
        editor = self._editors.get(guessed)
        if editor is None:
            editor = self._editors[guessed] = self._tables[guessed].edit()
        return editor


def routes_of(prefixes: PrefixTable, guesses: PrefixTable, number: int) -> list[Change]:
    """All routes as a snapshot says them: per site and kind one line that replaces what was known, then more."""
    lines: list[Change] = []
    for guessed, table in ((False, prefixes), (True, guesses)):
        learnt: dict[str, list[Prefix]] = {}
        for cidr, one in table.announced():
            if not one.by_hand:
                learnt.setdefault(one.site_id, []).append(Prefix(cidr, one.as_path_length, one.med))
        for site_id, its in sorted(learnt.items()):
            for start in range(0, len(its), LINE_PREFIXES):
                part = tuple(its[start : start + LINE_PREFIXES])
                lines.append(Change(number, routes=SiteRoutes(site_id, start == 0, part, guessed=guessed)))
    return lines


@lru_cache(maxsize=65536)
def _announcement(site_id: str, as_path_length: int, med: int, by_hand: bool) -> Announcement:
    return Announcement(site_id, as_path_length, med, by_hand)
