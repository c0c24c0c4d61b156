"""Static pages of the `web` package beside a service's API: `/` is a page, `/web/…` the files of the folders it needs.

The package is data: it is found by name, never imported. Browsers ask each time whether a file has changed (`no-cache` with
validators), so that an upgrade is seen at once.
"""

from __future__ import annotations

import importlib.util
import mimetypes
from collections.abc import Mapping
from pathlib import Path

from aiohttp import web

from chassis.errors import ConfigError
from chassis.routes import Routes

PACKAGE = "web"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".html": "text/html"}


def pages_folder(configured: Path | None = None) -> Path:
    """The folder of the pages: the configured one, or that of the installed package. Raises ConfigError when there is none."""
    if configured is not None:
        if not configured.is_dir():
            raise ConfigError((f"{configured}: the folder of the pages does not exist",))
        return configured
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigError((f"the package {PACKAGE} is not installed; name the folder of the pages",))
    return Path(places[0])


def add_pages(
    routes: Routes,
    *,
    page: str,
    folders: tuple[str, ...],
    content_security: str,
    root: Path | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Serves `ROOT/PAGE/index.html` at `/` and the files below each of `folders` at `/web/FOLDER/…`. Raises ConfigError
    when there is no such page."""
    folder = pages_folder(root).resolve()
    index = folder / page / "index.html"
    if not index.is_file():
        raise ConfigError((f"{index}: the page does not exist",))
    sent = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": content_security,
        "Referrer-Policy": "no-referrer",
        **(headers or {}),
    }

    async def get_index(_request: web.Request) -> web.StreamResponse:
        return _file(index, sent)

    async def get_file(request: web.Request) -> web.StreamResponse:
        path = (folder / request.match_info["path"]).resolve()
        if not any(path.is_relative_to(folder / name) for name in folders) or not path.is_file():
            raise web.HTTPNotFound
        return _file(path, sent)

    routes.raw("GET", "/", get_index, summary=f"The {page} page", documented=False)
    routes.raw("GET", "/web/{path:.+}", get_file, summary="A file of the page", documented=False)


def _file(path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return web.FileResponse(path, headers={**headers, "Content-Type": kind})
