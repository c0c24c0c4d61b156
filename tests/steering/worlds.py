"""Worlds for tests, made of changes as the control plane would send them."""

from __future__ import annotations

from collections.abc import Iterable

from contracts.places import Appliance, ApplianceState, Attachment, Prefix, Site
from contracts.reports import Holding
from contracts.world import Change, FallbackOrigin, Health, Holdings, RankFile, RankRequest, SiteRoutes
from steering.prefixes import HashedPrefixes
from steering.world import Draft, World

ORIGIN = FallbackOrigin("origin", "http://127.0.0.9:80", "https://127.0.0.9:443")


def key(title: str = "t", file: str = "v-360.mp4") -> str:
    return f"vod|/media/{title}/sd/{file}"


def site(
    site_id: str,
    *cidrs: str,
    tier: bool = False,
    attachment: Attachment = Attachment.EMBEDDED,
    region: str = "CH",
    as_path: int = 1,
    med: int = 0,
) -> Change:
    prefixes = tuple(Prefix(cidr, as_path, med) for cidr in cidrs)
    return Change(1, site=Site(site_id, site_id, "isp", region, prefixes, attachment, is_tier=tier))


def routes(
    site_id: str, *cidrs: str, full: bool = False, gone: tuple[str, ...] = (), guessed: bool = False, as_path: int = 1
) -> Change:
    announced = tuple(Prefix(cidr, as_path) for cidr in cidrs)
    return Change(1, routes=SiteRoutes(site_id, full, announced, gone, guessed))


def box(
    box_id: str,
    site_id: str,
    *urls: str,
    state: ApplianceState = ApplianceState.LIVE,
    domain: str = "",
    cluster: str = "main",
    egress_bps: int = 10_000_000_000,
) -> Change:
    its = urls or (f"http://{box_id}.example",)
    return Change(
        1, appliance=Appliance(box_id, site_id, cluster, state, its, "", 0, 0.15, egress_bps, failure_domain=domain)
    )


def well(box_id: str, *, load: float = 0.1, score: float = 1.0, serving: bool = True, shedding: bool = False) -> Change:
    return Change(1, health=Health(box_id, score, suspect=False, serving=serving, load=load, shedding=shedding))


def suspect(box_id: str) -> Change:
    return Change(1, health=Health(box_id, 1.0, suspect=True, serving=True, load=0.0, reasons=("beats-missed",)))


def holds(box_id: str, *keys: str, planned: tuple[str, ...] = ()) -> Change:
    whole = tuple(Holding(k, 10, 10, pinned=True) for k in keys)
    return Change(1, holdings=Holdings(box_id, full=True, held=whole, planned=planned))


def origin() -> Change:
    return Change(1, origin=ORIGIN)


def world(changes: Iterable[Change], doubted: frozenset[str] = frozenset()) -> World:
    draft = Draft(HashedPrefixes)
    for change in changes:
        draft.add(change)
    return draft.freeze().doubting(doubted)


def asking(
    client: str = "10.1.0.1", *keys: str, group: str = "t/v-360", count: int = 3, scheme: str = "http"
) -> RankRequest:
    return RankRequest(client, tuple(RankFile(k, group) for k in keys or (key(),)), count, scheme)


def two_networks() -> list[Change]:
    """Site `a` (a tier, three boxes) at 10.1/16, site `b` (one box) at 10.2/16; `a2` and `b1` hold the file, `a3` is to."""
    names = ("a1", "a2", "a3", "b1")
    return [
        site("a", "10.1.0.0/16", tier=True),
        site("b", "10.2.0.0/16"),
        *(box(name, name[0]) for name in names),
        *(well(name) for name in names),
        holds("a2", key()),
        holds("a3", planned=(key(),)),
        holds("b1", key()),
        origin(),
    ]
