"""The viewer page: files of the `web` package under `/`, without a build step."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from aiohttp import web

from chassis.errors import ConfigError

CONTENT_SECURITY = (
    "default-src 'self'; connect-src *; media-src * blob:; img-src * data:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)


def page_folder() -> Path:
    """The folder `web`. Raises ConfigError when that package is not installed."""
    spec = importlib.util.find_spec("web")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigError(("the package web is not installed: there is no viewer page to serve",))
    return Path(places[0])


def add_pages(app: web.Application, folder: Path) -> None:
    """Serves the page at `/` and its files under `/web/`; browsers ask again whether they changed."""

    async def index(_request: web.Request) -> web.StreamResponse:
        headers = {"Content-Security-Policy": CONTENT_SECURITY, "Referrer-Policy": "no-referrer"}
        return web.FileResponse(folder / "viewer" / "index.html", headers=headers)

    app.router.add_get("/", index)
    for name in ("viewer", "vendor"):
        app.router.add_static(f"/web/{name}/", folder / name)
    app.on_response_prepare.append(_caching)


async def _caching(request: web.Request, response: web.StreamResponse) -> None:
    if request.path == "/" or request.path.startswith("/web/"):
        response.headers.setdefault("Cache-Control", "no-cache")
