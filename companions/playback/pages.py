"""The viewer page: files of the `web` package under `/`, without a build step."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

import web as pages

CONTENT_SECURITY = (
    "default-src 'self'; connect-src *; media-src * blob:; img-src * data:; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_ROOT = Path(pages.__file__).parent


def add_pages(app: web.Application) -> None:
    """Serves the page at `/` and its files under `/web/`; browsers ask again whether they changed."""
    app.router.add_get("/", _index)
    for folder in ("viewer", "vendor"):
        app.router.add_static(f"/web/{folder}/", _ROOT / folder)
    app.on_response_prepare.append(_caching)


async def _index(_request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_ROOT / "viewer" / "index.html", headers={"Content-Security-Policy": CONTENT_SECURITY})


async def _caching(request: web.Request, response: web.StreamResponse) -> None:
    if request.path == "/" or request.path.startswith("/web/"):
        response.headers.setdefault("Cache-Control", "no-cache")
