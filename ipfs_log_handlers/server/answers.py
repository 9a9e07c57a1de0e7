"""Make JSON answers, and answers that say what is wrong."""

from __future__ import annotations

import json
from typing import Any, Final

from aiohttp import web

from ipfs_log_handlers.errors import (
    ConfigurationError,
    FormatError,
    LogStoreError,
    NoIdentityError,
    RecordError,
    StoreError,
    VerificationError,
)
from ipfs_log_handlers.server.work import BusyError, StoppedError, TooLongError

__all__ = ["Refusal", "as_text", "failure", "json_answer", "refusal_of"]

_MAX_TEXT: Final = 1000
"""Characters of a text in an error."""
_CLOSED: Final = 499
"""The status of a request whose client is gone; it is not sent."""


class Refusal(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is not answered, with the status and the reason.

    Args:
        status: the HTTP status.
        message: what is wrong.
        where: the parameter or header.
        expected: what was expected.
        found: what was found instead.
        hint: what to do next.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        where: str | None = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self._members = {
            "status": status, "message": message, "where": where, "expected": expected, "found": found, "hint": hint
        }  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the error as JSON values; texts in it are cut."""
        return {name: value if name == "status" else _cut(value) for name, value in self._members.items()}


def as_text(value: object) -> str:
    """Return JSON text that is valid UTF-8, whatever texts a record has, on one line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        return json.dumps(value, separators=(",", ":"))
    return text


def json_answer(value: object, *, status: int = 200) -> web.Response:
    """Return an answer with a JSON value."""
    return web.Response(text=as_text(value), status=status, content_type="application/json")


def failure(refusal: Refusal) -> web.Response:
    """Return the answer for a request that is refused."""
    answer = json_answer({"error": refusal.as_json()}, status=refusal.status)
    answer.headers.update(refusal.headers)
    return answer


def refusal_of(error: Exception) -> Refusal | None:
    """Say which answer an error gives; `None`: it is a fault of the server."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, BusyError):
        return Refusal(503, "too many queries wait", hint="Ask again in a second.", headers={"Retry-After": "1"})
    if isinstance(error, TooLongError):
        return Refusal(504, "the query took too long", hint="Choose a shorter time, or a filter that the index knows.")
    if isinstance(error, StoppedError):
        return Refusal(_CLOSED, "the client is gone")
    if isinstance(error, web.HTTPException):
        kept = {name: value for name, value in error.headers.items() if name.lower() in ("allow", "location")}
        return Refusal(error.status, error.reason.lower(), headers=kept)
    if isinstance(error, LogStoreError):
        return _of_error(error)
    if isinstance(error, OSError):
        from ipfs_log_handlers.api import explain_os_error

        return Refusal(500, explain_os_error(error), hint="`ipfs-logs doctor` looks for the cause.")
    return None


def _of_error(error: LogStoreError) -> Refusal:
    if isinstance(error, RecordError):
        status = 404 if error.kind == "missing" else 409
    elif isinstance(error, (StoreError, VerificationError, NoIdentityError)):
        status = 502
    elif isinstance(error, (ConfigurationError, FormatError)):
        status = 400
    else:
        status = 500
    where = None if error.where is None else str(error.where)
    return Refusal(status, error.message, where=where, expected=error.expected, found=error.found, hint=error.hint)


def _cut(value: object) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
