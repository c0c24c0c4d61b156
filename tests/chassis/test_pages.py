"""Static pages: what is served, and that nothing beside them is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from chassis.errors import ConfigError
from chassis.metrics import Metrics
from chassis.pages import add_pages
from chassis.routes import Routes
from chassis.service import Listener, Service, Tcp
from chassis.web import build_app


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    for name, text in (
        ("viewer/index.html", "<p>page</p>"),
        ("viewer/app.js", "1"),
        ("vendor/shaka.mjs", "2"),
        ("operator/secret.js", "3"),
    ):
        path = tmp_path / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "private").write_text("4")
    routes = Routes("t")
    add_pages(
        routes,
        page="viewer",
        folders=("viewer", "vendor"),
        content_security="default-src 'self'",
        root=tmp_path / "web",
    )

    async def compose(service: Service) -> None:
        app = build_app(routes, metrics=Metrics("t", process=False))
        service.listen(Listener("http", app, Tcp("127.0.0.1", 0)))

    async with Service("t", compose, grace_s=0.2).running() as urls:
        yield urls["http"]


@pytest.mark.parametrize(
    ("path", "kind", "text"),
    [
        ("/", "text/html", "<p>page</p>"),
        ("/web/viewer/app.js", "text/javascript", "1"),
        ("/web/vendor/shaka.mjs", "text/javascript", "2"),
    ],
)
async def test_pages_have_a_type_a_policy_and_are_asked_for_again(url: str, path: str, kind: str, text: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(url + path) as response:
            assert (response.status, response.content_type, await response.text()) == (200, kind, text)
            assert response.headers["Content-Security-Policy"] == "default-src 'self'"
            assert response.headers["Cache-Control"] == "no-cache"
            validator = response.headers["ETag"]
        async with session.get(url + path, headers={"If-None-Match": validator}) as response:
            assert response.status == 304


@pytest.mark.parametrize(
    "path",
    [
        "/web/operator/secret.js",
        "/web/viewer/",
        "/web/viewer/none.js",
        "/web/viewer/../operator/secret.js",
        "/web/viewer/%2e%2e/%2e%2e/private",
        "/web/viewer/..%2f..%2fprivate",
    ],
)
async def test_nothing_beside_the_pages_is_served(url: str, path: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(URL(url + path, encoded=True)) as response:
            assert response.status == 404


def test_a_missing_page_is_told_when_the_service_is_composed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.html"):
        add_pages(Routes("t"), page="viewer", folders=("viewer",), content_security="", root=tmp_path)
