"""A title's MPD made one session's: the packaged document with this viewer's renditions, places and token. Pure.

Laws: what the packager wrote stays (protection, roles, accessibility, elements and attributes that are not known here);
a Representation whose file is none of the session's renditions goes, and with it sets and Periods that become empty and
references to them; every Representation that stays names each of its places, best first, under its pathway's name
(`serviceLocation`, ETSI TS 103 998), absolute and with the token, and no `BaseURL` above it is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from companions.playback.manifest_mpd import NAMESPACE
from companions.playback.pathways import Route, joined, media_url, steerable
from companions.playback.sheets import Sheet
from contracts.manifests.bad import BadManifest
from contracts.manifests.elements import Element

SWITCHING = "urn:mpeg:dash:adaptation-set-switching:2016"
TRICK_MODE = "http://dashif.org/guidelines/trickmode"
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
        left = any(_is(child, below) for child in children)
        return element.holding(children) if left else None

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
            for place in route.places
        ]
        rest = [child for child in element.children if not _is(child, "BaseURL")]
        at = next((n for n, child in enumerate(rest) if _is(child, *_BEHIND_BASE_URL)), len(rest))
        children = (*rest[:at], *places, *rest[at:])
        return element.having("id", route.rendition.id).holding(children)


def _steered(mpd: Element, url: str) -> Element:
    # Without defaultServiceLocation: the BaseURLs stand best first, and Shaka Player 5.2 would know no other place until
    # steering's first answer, for the whole play where it has read a segment index by then.
    steering = _beside(mpd, "ContentSteering", (("queryBeforeStart", "false"),), url)
    at = next(n for n, child in enumerate(mpd.children) if _is(child, "Period"))
    return mpd.holding((*mpd.children[:at], steering, *mpd.children[at:]))


def _without_dangling(children: Sequence[Element | str]) -> tuple[Element | str, ...]:
    """Sets that say to belong to others, without what is no longer there; trick play of a set that is gone goes too."""
    left = {child.get("id") for child in children if isinstance(child, Element) and _is(child, "AdaptationSet")}
    kept: list[Element | str] = []
    for child in children:
        if not isinstance(child, Element) or not _is(child, "AdaptationSet"):
            kept.append(child)
        elif all(
            set(one.get("value").split()) & left for one in child.elements() if one.get("schemeIdUri") == TRICK_MODE
        ):
            kept.append(child.holding(tuple(_switching(child.children, left))))
    return tuple(kept)


def _switching(children: Sequence[Element | str], left: set[str]) -> Iterator[Element | str]:
    for child in children:
        if isinstance(child, Element) and child.get("schemeIdUri") == SWITCHING:
            others = [one.strip() for one in child.get("value").split(",") if one.strip() in left]
            if others:
                yield child.having("value", ",".join(others))
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
