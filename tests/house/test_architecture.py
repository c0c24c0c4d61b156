"""`docs/architecture.md` names the routes that the services have: no more, no less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest

from chassis.auth import SecretGuard
from chassis.routes import Routes
from companions.auth.api import AuthApi
from companions.catalog.api import CatalogApi
from companions.playback.api import PlaybackApi
from companions.recommendation.api import RecommendationApi
from control_plane.appliance_api import ApplianceApi
from control_plane.names.api import NameApi
from control_plane.operator_api import OperatorApi
from control_plane.plays_api import PlaysApi
from control_plane.routes.api import RouteApi
from control_plane.service_api import ServiceApi
from control_plane.trigger_api import TriggerApi
from control_plane.wish_api import WishApi
from origin.api import IngestApi
from steering.api import Api, routes_of
from steering.plays_api import PlaysApi as PlaysOfOneProcess
from steering.sessions_api import Sessions
from tests.house.source import ROOT

GUARD = SecretGuard("a secret")
ANY = MagicMock()
_SPAN = re.compile(r"`((?:GET|HEAD|PUT|POST|DELETE)(?:\|(?:GET|HEAD|PUT|POST|DELETE))*) (/\S*)`")


def control_plane() -> Routes:
    routes = Routes("both listeners")
    ApplianceApi(ANY, ANY, ANY, ANY, ANY).add_to(routes)
    ServiceApi(ANY, ANY, ANY, ANY, ("origin",)).add_to(routes)
    OperatorApi(ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY).add_to(routes, GUARD)
    TriggerApi(ANY).add_to(routes, GUARD)
    WishApi(ANY, ANY, ANY, ANY).add_to(routes, GUARD)
    RouteApi(ANY).add_inside(routes)
    RouteApi(ANY).add_to(routes, GUARD)
    NameApi(ANY).add_inside(routes)
    NameApi(ANY).add_to(routes, GUARD)
    PlaysApi(ANY, ANY).add_to(routes, GUARD)
    return routes


def steering() -> Routes:
    routes = routes_of(Api(ANY, ANY, ANY, ANY, ANY), Sessions(ANY, ANY, ANY, ANY, ANY, ANY, ANY, ANY))
    PlaysOfOneProcess(ANY, ANY).add_to(routes)
    return routes


def origin() -> Routes:
    routes = Routes("ingest; media has its own words in the page")
    IngestApi(ANY, ANY, ANY).add_to(routes, GUARD)
    return routes


def companions() -> Routes:
    routes = Routes("all four")
    for api in (
        AuthApi(ANY, ANY, ANY, ANY, ANY, ANY, guessing=ANY, access_ttl_s=1.0),
        CatalogApi(ANY, ANY, ANY, ANY),
        RecommendationApi(ANY, ANY, ANY),
        PlaybackApi(ANY, ANY, ANY, ANY),
    ):
        routes.rows += api.routes(GUARD).rows
    return routes


SECTIONS = {
    "Control plane": control_plane,
    "Steering": steering,
    "Origin": origin,
    "Companions": companions,
}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_of_what_crosses_borders_names_every_route_and_no_other(section: str) -> None:
    real = {f"{row.method} {_bare(row.path)}" for row in SECTIONS[section]().rows if row.method != "HEAD"}
    told = set(_told(section))
    assert sorted(told - real) == [], "named in the page, not there"
    assert sorted(real - told) == [], "there, not named in the page"


def _told(section: str) -> Iterator[str]:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    text = page.split(f"\n## {section}\n")[1].split("\n## ")[0]
    for methods, path in _SPAN.findall(text):
        if "/media/" in path:
            continue
        place = re.sub(r"(?<=/)[A-Z]+(?=/|\[|\]|\?|$)", "{}", path.partition("?")[0])
        paths = (place.replace("[/{}]", ""), place.replace("[/{}]", "/{}")) if "[" in place else (place,)
        for method in methods.split("|"):
            for one in paths:
                if (method in ("PUT", "DELETE")) and "[" in place and one == paths[0]:
                    continue
                if method != "HEAD":
                    yield f"{method} {one}"


def _bare(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)
