"""What the answers of a Kubo daemon mean: bytes and status in, nothing or the right error out. No I/O.

Kubo says 500 for nearly everything, so the text of its message decides. Three outcomes are told apart: *rejected*,
where the daemon names the bytes themselves as bad (hash, size, codec); *refused*, where token, origin, address or
version is wrong and no batch is to blame; and *unavailable*, which is all the rest, a full disk and an answer that
nobody understands included, because what is unknown is tried again.
Behaviour: Kubo's `core/commands/dag/import.go` and go-ipfs-cmds' `http/`, as observed with 0.43.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, StoreError, StoreRefused, StoreRejected, StoreUnavailable
from ipfs_log_handlers.format.cid import Cid

__all__ = ["MAX_LINE", "OLDEST_KUBO", "ImportAnswer", "failure", "json_object", "retry_after", "version_problem"]

MAX_LINE: Final = 1 << 16
"""Bytes of one line of an answer; Kubo's are some 120, and longer where a pin error names a path."""

OLDEST_KUBO: Final = (0, 26)
"""Pin names and the pinner's present behaviour came with it; nothing older was read or run."""

_SHOWN = 300

_POISON = re.compile(
    r"mismatch in content integrity"  # a hash
    r"|block is over \d+ ?MiB|length of read beyond allowable maximum"  # a size
    r"|no decoder registered|insecure hash function|digest too (?:small|large)"  # a codec, a hash function
    # Bytes that are not what their codec says. Only these endings: a full disk is told in the same frame.
    r'|import failed at block "[^"]*": (?:cbor:|protobuf|proto:|duplicate map key|unexpected|invalid|EOF$)'
    r"|invalid cid:|invalid header: (?!.*EOF)",  # no CAR; but one cut short may be the network
    re.IGNORECASE,
)
_ROOM = re.compile(
    r"no space left|disk quota|input/output error|read-only file system|too many open files", re.IGNORECASE
)

_ADVICE = {
    301: "Give the address that it points to",
    401: "Set `token` to what API.Authorizations of the daemon, or the proxy before it, wants",
    403: "Set `token` to what API.Authorizations of the daemon wants, and let AllowedPaths hold /api/v0",
    404: "Check that the address is the RPC of Kubo (port 5001), not its gateway",
    405: "Check that the address is the RPC of Kubo (port 5001), not its gateway",
    413: "Let the proxy before the daemon take larger bodies, or go around it",
}
_TEMPORARY = {408, 425, 429}


def failure(status: int, body: bytes, where: str, headers: Mapping[str, str] | None = None) -> StoreError:
    """Returns the error that an answer other than 200 means."""
    message = _message(body)
    headers = headers or {}
    if 300 <= status < 400:
        return _refused(f"the daemon's address answers with a redirect ({status})", headers.get("Location"), 301, where)
    if status in _TEMPORARY or status >= 500:
        if status == 500 and _is_poison(message):
            return StoreRejected("the daemon names these bytes as bad", found=message, where=where)
        return _unavailable(f"the daemon answered {status}", message, where, headers)
    if status == 400:
        return _bad_request(message, where, headers)
    if 400 < status < 500:
        return _refused(f"the daemon refuses the call ({status})", message, status, where)
    return _unavailable(f"the daemon gave the unexpected status {status}", message, where, headers)


def _is_poison(message: str) -> bool:
    return bool(_POISON.search(message)) and not _ROOM.search(message)


def _bad_request(message: str, where: str, headers: Mapping[str, str]) -> StoreError:
    if "HTTP request to an HTTPS server" in message:
        return StoreRefused("the daemon speaks HTTPS only", where=where, hint="Write https:// in the address")
    if "version mismatch" in message:
        return _refused("the daemon refuses the call (400)", message, 400, where)
    return _unavailable("the daemon did not understand the call (400)", message, where, headers)


def _refused(what: str, message: str | None, status: int, where: str) -> StoreRefused:
    return StoreRefused(what, found=_clipped(message or "") or None, where=where, hint=_ADVICE.get(status))


def _unavailable(what: str, message: str, where: str, headers: Mapping[str, str]) -> StoreUnavailable:
    error = StoreUnavailable(what, found=message or None, where=where)
    error.retry_after = retry_after(headers.get("Retry-After"), headers.get("Date"))
    return error


def _message(body: bytes) -> str:
    """The `Message` of Kubo's error object, or the text that stands in its place; one bounded, printable line."""
    text = body[:MAX_LINE].decode("utf-8", "replace")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict) and isinstance(value.get("Message"), str):
        text = value["Message"]
    return _clipped(text)


def _clipped(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in " ".join(text.split()))
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN // 2]} … {line[-_SHOWN // 2 :]}"


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Seconds that a Retry-After header asks for (0 to 3600), counted from the answer's own Date; None without one."""
    if value is None:
        return None
    try:
        if re.fullmatch(r"\d{1,9}", value.strip()):
            return min(float(value), 3600.0)
        wait = (parsedate_to_datetime(value) - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), 3600.0)


def version_problem(body: bytes, where: str) -> tuple[str, StoreError | None]:
    """Returns what `/api/v0/version` says, and why this daemon cannot be used, if it cannot."""
    value = json_object(body, where)
    version = value.get("Version")
    found = re.match(r"(\d{1,6})\.(\d{1,6})", version) if isinstance(version, str) else None
    if found is None:
        return "", StoreRefused(
            "what answers does not say which Kubo it is",
            found=_message(body),
            where=where,
            hint="Check that the address is the RPC of Kubo (port 5001)",
        )
    if (int(found[1]), int(found[2])) < OLDEST_KUBO:
        least = ".".join(map(str, OLDEST_KUBO))
        old = StoreRefused("Kubo is too old", expected=f"{least} or later", found=_clipped(str(version)), where=where)
        old.hint = "Update the daemon; 0.42 or later is recommended"
        return str(version), old
    return _clipped(str(version)), None


def json_object(line: bytes, where: str) -> dict[str, Any]:
    """Reads one JSON object of a 200; anything else means that something unknown answered."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StoreUnavailable(
            "the daemon's answer is not JSON", found=_clipped(repr(line[:80])), where=where
        ) from error
    if not isinstance(value, dict):
        raise StoreUnavailable("the daemon's answer is not a JSON object", found=_clipped(repr(line[:80])), where=where)
    return value


class ImportAnswer:
    """The lines of a 200 to `dag/import`: complete when every root was confirmed and then the counts came.

    Trailers cannot be seen by an aiohttp client, so the Stats line is the only end marker: without it nothing is known,
    whatever the status was.
    """

    def __init__(self, roots: Iterable[Cid], blocks: int, block_bytes: int, where: str) -> None:
        self._missing = {root.text for root in roots}
        self._sent = frozenset(self._missing)
        self._counts = {"BlockCount": blocks, "BlockBytesCount": block_bytes}
        self._where = where
        self._held = b""
        self._problem: StoreUnavailable | None = None
        self.complete = False

    def feed(self, data: bytes) -> None:
        """Takes the next piece of the body; raises `StoreUnavailable` when it is not what success looks like."""
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._held) > MAX_LINE:
            raise self._unknown("a line of the answer is too long", expected=f"at most {MAX_LINE} bytes")

    def end(self) -> None:
        """The body is over: raises unless it was complete."""
        if not self.complete:
            self._line(self._held)
        if not self.complete:
            raise self._problem or self._unknown("the answer ended before the counts, so nothing is confirmed")

    def _line(self, line: bytes) -> None:
        if self.complete or not line.strip():
            return
        if len(line) > MAX_LINE:
            raise self._unknown("a line of the answer is too long", expected=f"at most {MAX_LINE} bytes")
        value = json_object(line, self._where)
        if isinstance(value.get("Root"), dict):
            self._root(value["Root"])
        elif isinstance(value.get("Stats"), dict):
            self._stats(value["Stats"])
        else:
            raise self._unknown("a line of the answer is of no known kind", found=_clipped(repr(line[:80])))

    def _root(self, root: dict[str, Any]) -> None:
        link, trouble = root.get("Cid"), root.get("PinErrorMsg")
        try:
            cid = Cid.parse(link["/"] if isinstance(link, dict) and isinstance(link.get("/"), str) else "").text
        except FormatError as error:
            raise self._unknown(
                "the daemon confirms a root that is no CID of ours", found=_clipped(repr(link))
            ) from error
        if cid not in self._sent:
            raise self._unknown("the daemon confirms a root that was not sent", found=cid)
        if trouble != "":
            problem = _clipped(trouble if isinstance(trouble, str) else repr(trouble))
            self._problem = self._problem or self._unknown(f"the daemon did not pin {cid}", found=problem)
            return
        self._missing.discard(cid)

    def _stats(self, stats: dict[str, Any]) -> None:
        found = {key: stats.get(key) for key in self._counts}
        if self._problem is not None:
            raise self._problem
        if self._missing:
            raise self._unknown("the daemon did not confirm a root that was sent", expected=min(self._missing))
        if found != self._counts or any(type(n) is not int for n in found.values()):
            raise self._unknown("the daemon counted other blocks than were sent", expected=self._counts, found=found)
        self.complete = True

    def _unknown(self, what: str, *, expected: object = None, found: object = None) -> StoreUnavailable:
        return StoreUnavailable(what, expected=expected, found=found, where=self._where)
