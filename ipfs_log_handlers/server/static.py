"""Serve the page and its files, which are part of the package; no path of a client is opened."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from aiohttp import web

__all__ = ["PageFile", "page_files", "routes"]

_TYPES: Final = {
    "html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "png": "image/png",
    "LICENSE": "text/plain", "SHA256SUMS": "text/plain",
}  # fmt: skip
"""The content type by the ending of a name; other files are not served."""
_FIRST: Final = "index.html"
"""The file of the page itself."""
_ICON: Final = "icon.svg"
"""The icon of the page; a browser asks for `/favicon.ico` where an answer, such as JSON, names no icon."""


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page."""

    name: str
    """Its name."""
    content_type: str
    """Its content type."""
    body: bytes
    """Its bytes."""
    sha256: str
    """Their hash, hex."""

    def as_json(self) -> dict[str, Any]:
        """Return the file as JSON values, without its bytes."""
        return {"name": self.name, "bytes": len(self.body), "sha256": self.sha256}


def page_files() -> Mapping[str, PageFile]:
    """Read the files of the page from the package, by name.

    Raises:
        OSError: they cannot be read.
    """
    files: dict[str, PageFile] = {}
    directory = resources.files("ipfs_log_handlers").joinpath("server").joinpath("page")
    for entry in sorted(directory.iterdir(), key=lambda entry: entry.name):
        content_type = _TYPES.get(entry.name.rpartition(".")[2])
        if content_type is not None and entry.is_file():
            body = entry.read_bytes()
            files[entry.name] = PageFile(entry.name, content_type, body, hashlib.sha256(body).hexdigest())
    return files


def routes(files: Mapping[str, PageFile]) -> list[web.RouteDef]:
    """Return the routes."""

    def answer(request: web.Request, file: PageFile | None) -> web.Response:
        if file is None:
            raise web.HTTPNotFound
        tag = f'"{file.sha256}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.body, content_type=file.content_type, charset="utf-8", headers=headers)

    async def page(request: web.Request) -> web.Response:
        return answer(request, files.get(_FIRST))

    async def part(request: web.Request) -> web.Response:
        return answer(request, files.get(request.match_info["name"]))

    async def icon(request: web.Request) -> web.Response:
        return answer(request, files.get(_ICON))

    return [web.get("/", page), web.get("/favicon.ico", icon), web.get("/page/{name}", part)]
