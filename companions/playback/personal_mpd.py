"""A title's MPD made one session's: the packaged document with this viewer's renditions, places and token. Pure.

Laws: what the packager wrote stays (protection, roles, accessibility, elements and attributes that are not known here);
a Representation whose file is none of the session's renditions goes, and with it sets and Periods that become empty and
references to them; bounds of a set that lost any are those of what is left (ISO 23009-1 §5.3.3); every Representation that stays names each of its places, best first, under its pathway's name
(`serviceLocation`, ETSI TS 103 998), absolute and with the token, and no `BaseURL` above it is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from companions.playback.manifest_mpd import NAMESPACE
from companions.playback.pathways import Route, joined, media_url, steerable
from companions.playback.sheets import Sheet
from contracts.content_steering import DASH_DIALECT, DIALECT_FIELD
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element

SWITCHING = "urn:mpeg:dash:adaptation-set-switching:2016"
TRICK_MODE = "http://dashif.org/guidelines/trickmode"
_BOUNDED = {"Width": "width", "Height": "height", "Bandwidth": "bandwidth", "FrameRate": "frameRate"}
"""What a set bounds by `min…` and `max…`, and the attribute of its Representations that is bounded."""
_TO_REPRESENTATIONS = {"dependencyId": ("dependencyId",), "associationId": ("associationId", "associationType")}
"""Attributes that name Representations, and what goes with each where one of those is gone."""
_LEVELS = ("MPD", "Period", "AdaptationSet")
_REPLACED = frozenset({"BaseURL", "Location", "PatchLocation", "ContentSteering"})
_BEHIND_BASE_URL = frozenset(
    {"ExtendedBandwidth", "SubRepresentation", "SegmentBase", "SegmentList", "SegmentTemplate"}
)


def personal(packaged: Element, sheet: Sheet, path: str) -> Element:
    """The session's document. `path` is the packaged one's media path, which its addresses are relative to.

    Raises BadManifest when it is no MPD, names a rendition twice, or lacks one that the session has.
    """
    if (packaged.local, packaged.namespace) != ("MPD", NAMESPACE):
        raise BadManifest(f"its root is {packaged.name[:60]!r} and not an MPD of {NAMESPACE}")
    work = _Work({route.rendition.path: route for route in sheet.routes}, sheet.token)
    made = work.level(packaged, path)
    lacking = sorted(set(work.routes) - work.met)
    if lacking:
        raise BadManifest(f"it lacks {', '.join(lacking)[:200]}")
    assert made is not None, "a document with every rendition of a session is not empty"
    if sheet.steering_url and steerable(sheet.routes):
        made = _steered(made, sheet.steering_url)
    return made


@dataclass(slots=True)
class _Work:
    """One document on its way: the session's routes by path, and those that were met."""

    routes: dict[str, Route]
    token: str
    met: set[str] = field(default_factory=set)

    def level(self, element: Element, base: str) -> Element | None:
        """An MPD, Period or AdaptationSet with what is left of it; None when nothing is."""
        base = _base(element, base)
        below = "Representation" if element.local == "AdaptationSet" else _LEVELS[_LEVELS.index(element.local) + 1]
        children = tuple(self._children(element, base, below))
        if element.local == "Period":
            children = _without_dangling(children)
        left = sum(_is(child, below) for child in children)
        if not left:
            return None
        lost = element.local == "AdaptationSet" and left < sum(_is(child, below) for child in element.children)
        made = element.holding(children)
        return _within_bounds(made) if lost else made

    def _children(self, element: Element, base: str, below: str) -> Iterator[Element | str]:
        for child in element.children:
            if isinstance(child, Element) and child.namespace == NAMESPACE:
                if child.local in _REPLACED:
                    continue
                if child.local == below:
                    kept = self._representation(child, base) if below == "Representation" else self.level(child, base)
                    if kept is not None:
                        yield kept
                    continue
            yield child

    def _representation(self, element: Element, base: str) -> Element | None:
        path = _base(element, base)
        route = self.routes.get(path)
        if route is None:
            return None
        if path in self.met:
            raise BadManifest(f"two Representations are {path}")
        self.met.add(path)
        places = [
            _beside(element, "BaseURL", (("serviceLocation", place.pathway),), media_url(place, self.token, path))
            for place in route.in_turn
        ]
        rest = [child for child in element.children if not _is(child, "BaseURL")]
        at = next((n for n, child in enumerate(rest) if _is(child, *_BEHIND_BASE_URL)), len(rest))
        children = (*rest[:at], *places, *rest[at:])
        return element.having("id", route.rendition.id).holding(children)


def _steered(mpd: Element, url: str) -> Element:
    # Without defaultServiceLocation: the BaseURLs stand best first, and Shaka Player 5.2 would know no other place until
    # steering's first answer, for the whole play where it has read a segment index by then.
    address = f"{url}{'&' if '?' in url else '?'}{DIALECT_FIELD}={DASH_DIALECT}"
    steering = _beside(mpd, "ContentSteering", (("queryBeforeStart", "false"),), address)
    at = next(n for n, child in enumerate(mpd.children) if _is(child, "Period"))
    return mpd.holding((*mpd.children[:at], steering, *mpd.children[at:]))


def _within_bounds(adaptation_set: Element) -> Element:
    """The set with bounds of the Representations that it has; without those that not all of them say."""
    members = [child for child in adaptation_set.elements() if _is(child, "Representation")]
    for what, attribute in _BOUNDED.items():
        said = [_number(one.get(attribute)) for one in members]
        known = [number for number in said if number is not None]
        for name, pick in ((f"min{what}", min), (f"max{what}", max)):
            if adaptation_set.get(name) and len(known) == len(members):
                at = said.index(pick(known))
                adaptation_set = adaptation_set.having(name, members[at].get(attribute))
            else:
                adaptation_set = _lacking(adaptation_set, name)
    return adaptation_set


def _number(text: str) -> Fraction | None:
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _lacking(element: Element, *names: str) -> Element:
    return replace(element, attributes=tuple(one for one in element.attributes if one[0] not in names))


def _without_dangling(children: Sequence[Element | str]) -> tuple[Element | str, ...]:
    """What says to belong to others, without what is no longer there; trick play of a set that is gone goes too."""
    sets = [child for child in children if isinstance(child, Element) and _is(child, "AdaptationSet")]
    left = {one.get("id") for one in sets}
    inside = [child for one in sets for child in one.elements()]
    components = left | {one.get("id") for one in inside if _is(one, "ContentComponent")}
    members = {one.get("id") for one in inside if _is(one, "Representation")}
    kept: list[Element | str] = []
    for child in children:
        if not isinstance(child, Element):
            kept.append(child)
        elif _is(child, "AdaptationSet"):
            tricks = [one.get("value").split() for one in child.elements() if one.get("schemeIdUri") == TRICK_MODE]
            if all(left.intersection(others) for others in tricks):
                kept.append(child.holding(tuple(_belonging(child.children, left, members))))
        elif _is(child, "Subset"):
            its = [one for one in child.get("contains").split() if one in left]
            kept += [child.having("contains", " ".join(its))] if its else []
        elif not _is(child, "Preselection") or components.issuperset(child.get("preselectionComponents").split()):
            kept.append(child)
    return tuple(kept)


def _belonging(children: Sequence[Element | str], left: set[str], members: set[str]) -> Iterator[Element | str]:
    for child in children:
        if isinstance(child, Element) and child.get("schemeIdUri") == SWITCHING:
            others = [one.strip() for one in child.get("value").split(",") if one.strip() in left]
            if others:
                yield child.having("value", ",".join(others))
        elif isinstance(child, Element) and _is(child, "Representation"):
            gone = [
                name
                for by, names in _TO_REPRESENTATIONS.items()
                if not members.issuperset(child.get(by).split())
                for name in names
            ]
            yield _lacking(child, *gone)
        else:
            yield child


def _base(element: Element, base: str) -> str:
    """The base address of an element's content: its first BaseURL, joined to that of what it stands in."""
    own = next((child.text for child in element.elements() if _is(child, "BaseURL")), "")
    return joined(base, own) if own else base


def _is(child: Element | str, *names: str) -> bool:
    return isinstance(child, Element) and child.namespace == NAMESPACE and child.local in names


def _beside(element: Element, name: str, attributes: tuple[tuple[str, str], ...], text: str) -> Element:
    """A new element of DASH, under the prefix that the document uses for it."""
    return replace(
        element, name=element.name.removesuffix(element.local) + name, attributes=attributes, children=(text,)
    )
