"""Interpret the answers of a Kubo daemon: return nothing for a success, else the right error. No I/O.

Kubo answers 500 for nearly every failure, so the text of its message decides. There are three outcomes. *Rejected*: the
daemon says that the bytes themselves are bad (hash, size, codec). *Denied*: token, origin, address or version is wrong,
and the batch is not the cause. *Unavailable*: all other answers, also a full disk and an unknown answer, because then
the same bytes are sent again.
Behaviour: Kubo's `core/commands/dag/import.go` and go-ipfs-cmds' `http/`, as observed with 0.43.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, StoreDenied, StoreError, StoreRejected, StoreUnavailable
from ipfs_log_handlers.format.cid import Cid

__all__ = [
    "MAX_LINE",
    "OLDEST_KUBO",
    "ImportAnswer",
    "failure",
    "json_object",
    "retry_after",
    "version_of",
    "version_problem",
]

MAX_LINE: Final = 1 << 16
"""Bytes of one line of an answer, at most; Kubo's lines have some 120, and more when a pin error names a path."""

OLDEST_KUBO: Final = (0, 26)
"""The oldest accepted release: it introduced pin names, and no older release was tested."""

_MAX_SHOWN_CHARS: Final = 300
"""Characters of a daemon's message that an error of ours repeats."""
_HALF_SHOWN: Final = _MAX_SHOWN_CHARS // 2
"""Characters that are kept at either end of a longer message."""

_REJECTION = re.compile(
    r"mismatch in content integrity"  # a hash
    r"|block is over \d+ ?MiB|length of read beyond allowable maximum"  # a size
    r"|no decoder registered|insecure hash function|digest too (?:small|large)"  # a codec, a hash function
    # Bytes that do not follow their codec. Only these endings count: a full disk is reported with the same beginning.
    r'|import failed at block "[^"]*": (?:cbor:|protobuf|proto:|duplicate map key|unexpected|invalid|EOF$)'
    r"|invalid cid:|invalid header: (?!.*EOF)",  # not a CAR; but a CAR that was cut short may be a fault of the network
    re.IGNORECASE,
)
# A full or failing disk of the daemon; these words are checked before those of a rejection.
_NO_ROOM = re.compile(
    r"no space left|disk quota|input/output error|read-only file system|too many open files", re.IGNORECASE
)

# The hint for an answer, by status.
_ADVICE = {
    301: "Give the address that it points to",
    401: "Set `token` to a credential of API.Authorizations of the daemon, or of the proxy in front of it",
    403: "Set `token` to a credential of API.Authorizations of the daemon, and add /api/v0 to its AllowedPaths",
    404: "Check that the address is the RPC of Kubo (port 5001), not its gateway",
    405: "Check that the address is the RPC of Kubo (port 5001), not its gateway",
    413: "Let the proxy in front of the daemon accept larger bodies, or use an address without the proxy",
}
_TEMPORARY = {408, 425, 429}
"""Statuses after which the same call is tried again, beside those from 500 on."""


def failure(status: int, body: bytes, where: str, headers: Mapping[str, str] | None = None) -> StoreError:
    """Return the error that an answer other than 200 means."""
    message = _message(body)
    headers = headers or {}
    if 300 <= status < 400:
        return _denied(f"the daemon's address answers with a redirect ({status})", headers.get("Location"), 301, where)
    if status in _TEMPORARY or status >= 500:
        if status == 500 and _is_rejection(message):
            return StoreRejected("the daemon says that these bytes are bad", found=message, where=where)
        return _unavailable(f"the daemon answered {status}", message, where, headers)
    if status == 400:
        return _bad_request(message, where, headers)
    if 400 < status < 500:
        return _denied(f"the daemon refuses the call ({status})", message, status, where)
    return _unavailable(f"the daemon gave the unexpected status {status}", message, where, headers)


def _is_rejection(message: str) -> bool:
    return bool(_REJECTION.search(message)) and not _NO_ROOM.search(message)


def _bad_request(message: str, where: str, headers: Mapping[str, str]) -> StoreError:
    if "HTTP request to an HTTPS server" in message:
        return StoreDenied("the daemon speaks HTTPS only", where=where, hint="Write https:// in the address")
    if "version mismatch" in message:
        return _denied("the daemon refuses the call (400)", message, 400, where)
    return _unavailable("the daemon did not understand the call (400)", message, where, headers)


def _denied(what: str, message: str | None, status: int, where: str) -> StoreDenied:
    return StoreDenied(what, found=_clipped(message or "") or None, where=where, hint=_ADVICE.get(status))


def _unavailable(what: str, message: str, where: str, headers: Mapping[str, str]) -> StoreUnavailable:
    error = StoreUnavailable(what, found=message or None, where=where)
    error.retry_after = retry_after(headers.get("Retry-After"), headers.get("Date"))
    return error


def _message(body: bytes) -> str:
    """Return the `Message` of Kubo's error object, or the whole text, as one bounded, printable line."""
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
    return line if len(line) <= _MAX_SHOWN_CHARS else f"{line[:_HALF_SHOWN]} … {line[-_HALF_SHOWN:]}"


def retry_after(value: str | None, date: str | None = None) -> float | None:
    """Return the seconds (0 to 3600) of a Retry-After header, counted from the answer's own Date; None without one."""
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
    """Return the version in an answer of `/api/v0/version`, and the error if this daemon cannot be used."""
    value = json_object(body, where)
    version = value.get("Version")
    if not isinstance(version, str) or version_of(version) == (0, 0):
        return "", StoreDenied(
            "the answer does not contain the version of Kubo",
            found=_message(body),
            where=where,
            hint="Check that the address is the RPC of Kubo (port 5001)",
        )
    if version_of(version) < OLDEST_KUBO:
        least = ".".join(map(str, OLDEST_KUBO))
        old = StoreDenied("Kubo is too old", expected=f"{least} or later", found=_clipped(str(version)), where=where)
        old.hint = "Update the daemon; 0.42 or later is recommended"
        return str(version), old
    return _clipped(str(version)), None


def version_of(text: str) -> tuple[int, int]:
    """Return the first two numbers of a version; (0, 0) for a text that is none."""
    match = re.match(r"(\d{1,6})\.(\d{1,6})", text)
    return (0, 0) if match is None else (int(match[1]), int(match[2]))


def json_object(line: bytes, where: str) -> dict[str, Any]:
    """Parse the JSON object of a 200; any other answer means that another program answered."""
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
    """Read the lines of a 200 to `dag/import`: it is complete if every root is confirmed and then the counts follow.

    An aiohttp client cannot see trailers, so the Stats line is the only end marker: without it nothing is confirmed,
    whatever the status.

    Args:
        roots: the CIDs that must be confirmed as pinned.
        blocks: number of blocks that were sent.
        block_bytes: the sum of their lengths.
        where: the address, for errors.
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
        """Take the next piece of the body.

        Raises:
            StoreUnavailable: a line is not part of a success.
        """
        *lines, self._held = (self._held + data).split(b"\n")
        for line in lines:
            self._line(line)
        if len(self._held) > MAX_LINE:
            raise self._unknown("a line of the answer is too long", expected=f"at most {MAX_LINE} bytes")

    def end(self) -> None:
        """Take the end of the body.

        Raises:
            StoreUnavailable: the answer is not complete.
        """
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
            raise self._unknown("a line of the answer is of an unknown kind", found=_clipped(repr(line[:80])))

    def _root(self, root: dict[str, Any]) -> None:
        link, trouble = root.get("Cid"), root.get("PinErrorMsg")
        try:
            cid = Cid.parse(link["/"] if isinstance(link, dict) and isinstance(link.get("/"), str) else "").text
        except FormatError as error:
            raise self._unknown(
                "the daemon confirms a root that is not one of our CIDs", found=_clipped(repr(link))
            ) from error
        if cid not in self._sent:
            raise self._unknown("the daemon confirms a root that was not sent", found=cid)
        if trouble != "":
            problem = _clipped(trouble if isinstance(trouble, str) else repr(trouble))
            self._problem = self._problem or self._unknown(f"the daemon did not pin {cid}", found=problem)
            return
        self._missing.discard(cid)

    def _stats(self, stats: dict[str, Any]) -> None:
        counts = {key: stats.get(key) for key in self._counts}
        if self._problem is not None:
            raise self._problem
        if self._missing:
            raise self._unknown("the daemon did not confirm a root that was sent", expected=min(self._missing))
        if counts != self._counts or any(type(count) is not int for count in counts.values()):
            raise self._unknown(
                "the daemon counted more or fewer blocks than were sent", expected=self._counts, found=counts
            )
        self.complete = True

    def _unknown(self, what: str, *, expected: object = None, found: object = None) -> StoreUnavailable:
        return StoreUnavailable(what, expected=expected, found=found, where=self._where)
