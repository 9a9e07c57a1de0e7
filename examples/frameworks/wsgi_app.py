"""A WSGI application that logs each order."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger("shop")
log.info("loaded")


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Place the order that the path names."""
    log.info("order placed", extra={"number": int(environ["PATH_INFO"].rpartition("/")[2])})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"placed\n"]
