"""The operator page: static files of the `web` package, no build step."""

from __future__ import annotations

import importlib.util
import mimetypes
from pathlib import Path

from aiohttp import web

from chassis.errors import ConfigError
from chassis.routes import Routes

FOLDERS = ("operator", "vendor")
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


def folder_of(configured: Path | None) -> Path:
    """The folder `web`. Raises ConfigError when there is none."""
    if configured is not None:
        if not (configured / "operator").is_dir():
            raise ConfigError((f"page_dir: {configured} has no folder operator",))
        return configured
    spec = importlib.util.find_spec("web")
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise ConfigError(("page_dir: the package web is not installed; name its folder",))
    return Path(places[0])


class Page:
    """`/` is the page, `/web/operator/…` and `/web/vendor/…` its files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def add_to(self, routes: Routes) -> None:
        routes.raw("GET", "/", self.index, summary="The operator page", documented=False)
        routes.raw("GET", "/web/{path:.+}", self.file, summary="A file of the page", documented=False)

    async def index(self, request: web.Request) -> web.StreamResponse:
        return self._answer(self._folder / "operator" / "index.html")

    async def file(self, request: web.Request) -> web.StreamResponse:
        path = (self._folder / request.match_info["path"]).resolve()
        inside = any(path.is_relative_to(self._folder / name) for name in FOLDERS)
        if not inside or not path.is_file():
            raise web.HTTPNotFound
        return self._answer(path)

    @staticmethod
    def _answer(path: Path) -> web.StreamResponse:
        if not path.is_file():
            raise web.HTTPNotFound
        kind = "text/javascript" if path.suffix in (".js", ".mjs") else mimetypes.guess_type(path.name)[0]
        return web.FileResponse(path, headers={**HEADERS, "Content-Type": kind or "application/octet-stream"})
