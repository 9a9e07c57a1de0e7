"""Translate foreign exceptions into ours: one table from an exception class to a kind and a plain sentence. No I/O.

`translate` takes an exception and its causes, the outermost first, and uses the first row that returns a meaning. A row
that returns `None` means: look at the cause. If no row returns a meaning, the error shows the text of the library.
tests/stores/test_foreign_errors.py fails when aiohttp gains an exception class that has no row.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import aiohttp

from ipfs_log_handlers.errors import StoreDenied, StoreError, StoreErrorKind, StoreUnavailable

__all__ = ["TABLE", "Limits", "Row", "Translation", "in_own_words", "translate"]

_MAX_DETAIL_CHARS: Final = 300
"""Characters of the text of a foreign exception that an error of ours repeats."""
_ERRNO_IN_TEXT: Final = re.compile(r"\[Errno (\d+)\]")
"""Numbers in the text of an error that stands for several, one for each address that was tried."""
_BROKEN: Final = {errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE}
"""Error numbers of a connection that was open and broke off."""
_NO_ROUTE: Final = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
"""Error numbers of a network without a way to the address."""
_NO_SUCH_HOST: Final = {socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
"""Error numbers of a name look-up that mean that the name does not exist."""
_NO_TLS_REASONS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}
"""OpenSSL's reasons for an answer that is not TLS."""

# Numbers of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET_VALID, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
_UNKNOWN_ISSUER: Final = {2, 18, 19, 20, 21}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of a call: its time limits, in seconds, and what was called."""

    connect_s: float
    """Seconds for the connection."""
    answer_s: float
    """Seconds for the whole answer."""
    callee: str = "the daemon"
    """What was called, in the words of the message."""


@dataclass(frozen=True, slots=True)
class Translation:
    """The meaning of a foreign exception."""

    kind: StoreErrorKind
    """The kind of the error; the keeper and `flush` decide by it."""
    message: str
    """What happened, in plain words."""
    detail: str | None = None
    """The text of the exception; `None` if the message contains all of it."""
    hint: str | None = None
    """What to do next."""


Row = Callable[[BaseException, Limits], Translation | None]
"""A function that returns the meaning of an exception; `None`: look at its cause."""


def translate(
    error: BaseException, *, where: str, connect_s: float, answer_s: float, callee: str = "the daemon"
) -> StoreError:
    """Return our error for a foreign exception of a call to a store.

    Args:
        error: the exception.
        where: the address of the store.
        connect_s: time limit of the connection, in seconds.
        answer_s: time limit of the whole answer, in seconds.
        callee: what was called, such as `the daemon`.

    Returns:
        `StoreDenied` if the address is wrong or the certificate is not trusted, else `StoreUnavailable`; `kind` says
        more.
    """
    limits = Limits(connect_s=connect_s, answer_s=answer_s, callee=callee)
    translation = next(filter(None, (_translation(cause, limits) for cause in _causes(error))), None)
    translation = translation or _unforeseen(error, limits)
    denied = translation.kind == "denied"
    ours = (StoreDenied if denied else StoreUnavailable)(
        translation.message, found=translation.detail, where=where, hint=translation.hint
    )
    ours.kind = translation.kind
    return ours


def in_own_words(error: BaseException) -> str:
    """Return class and text of an exception on one line of limited length."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:_MAX_DETAIL_CHARS]


def _translation(error: BaseException, limits: Limits) -> Translation | None:
    """Apply the row of the most specific class."""
    for base in type(error).__mro__:
        if base in TABLE:
            return TABLE[base](error, limits)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, also the inner exceptions of aiohttp."""
    while error is not None:
        yield error
        for name in ("os_error", "certificate_error"):
            inner = getattr(error, name, None)
            if isinstance(inner, BaseException):
                yield inner
        error = error.__cause__ or error.__context__


# -- the rows


def _look_at_cause(_: BaseException, __: Limits) -> None:
    return None


def _unforeseen(error: BaseException, limits: Limits) -> Translation:
    return Translation("unavailable", f"{limits.callee} cannot be reached", in_own_words(error))


def _no_connection_in_time(_: BaseException, limits: Limits) -> Translation:
    return Translation("timeout", f"nobody answers there (no connection within {limits.connect_s:.0f} s)")


def _no_answer_in_time(error: BaseException, limits: Limits) -> Translation | None:
    if isinstance(error, OSError) and error.errno:  # the system's own limit for a connection
        return _system_error(error, limits)
    return Translation(
        "timeout",
        f"{limits.callee} did not answer within {limits.answer_s:.0f} s",
        hint="It may be stopped, overloaded, or waiting for a block that it cannot find",
    )


def _closed(_: BaseException, __: Limits) -> Translation:
    return Translation("unavailable", "the connection broke off before an answer came")


def _cut_short(_: BaseException, __: Limits) -> Translation:
    return Translation("unavailable", "the connection broke off before the answer was complete")


def _not_http(_: BaseException, __: Limits) -> Translation:
    return Translation("unavailable", "the program at this address does not speak HTTP")


def _no_name(error: BaseException, _: Limits) -> Translation:
    number = getattr(error, "errno", None)
    words = (getattr(error, "strerror", None) or str(error)).lower()
    if number in _NO_SUCH_HOST:
        return Translation("unavailable", f"there is no such host ({words})")
    return Translation("unavailable", f"its name cannot be looked up ({words})")


_BY_NUMBER: Final[tuple[tuple[set[int], StoreErrorKind, str], ...]] = (
    ({errno.ECONNREFUSED}, "unreachable", "nobody listens there"),
    ({errno.ENOENT}, "unreachable", "there is no such socket"),
    ({errno.EACCES, errno.EPERM}, "unavailable", "this user may not connect there"),
    ({errno.ETIMEDOUT}, "timeout", "nobody answers there"),
    (_NO_ROUTE, "unavailable", "no network route leads there"),
)
"""Error numbers of the system, the most informative first: if several addresses failed, its error is reported."""


def _system_error(error: BaseException, limits: Limits) -> Translation | None:
    if getattr(error, "os_error", None) is not None:
        return None  # the numbers of name look-ups are not error numbers of the system
    number = getattr(error, "errno", None)
    numbers = {number} if number else {int(text) for text in _ERRNO_IN_TEXT.findall(str(error))}
    if numbers & _BROKEN:
        return _closed(error, limits)
    for wanted, kind, message in _BY_NUMBER:
        if numbers & wanted:
            return Translation(kind, f"{message} ({os.strerror(min(numbers & wanted)).lower()})")
    return None


def _tls(error: BaseException, _: Limits) -> Translation | None:
    """Say why TLS failed. Attributes may be missing: aiohttp makes TLS errors without a constructor of ssl."""
    reason, words = getattr(error, "reason", None), getattr(error, "verify_message", None)
    if isinstance(error, ssl.SSLCertVerificationError) and words:
        return _certificate(error.verify_code, words.rstrip("."))
    if reason in _NO_TLS_REASONS:
        return Translation(
            "denied",
            "the program at this address does not speak TLS",
            hint="Write http:// for a connection without TLS",
        )
    return None


def _certificate(code: int, words: str) -> Translation:
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        return Translation("denied", f"its certificate is for another name ({words})")
    if code == _EXPIRED:
        return Translation("denied", "its certificate has expired")
    if code == _NOT_YET_VALID:
        return Translation("denied", "its certificate is not valid yet")
    if code in _UNKNOWN_ISSUER:
        return Translation(
            "denied",
            f"no trusted authority has signed its certificate ({words})",
            hint="If the authority is your own, set SSL_CERT_FILE to its certificate",
        )
    return Translation("denied", f"its certificate is not trusted ({words})")


def _tls_of_aiohttp(error: BaseException, limits: Limits) -> Translation:
    """Say why TLS failed, in the words of the first cause that knows it."""
    translations = (_tls(cause, limits) for cause in _causes(error))
    return next(filter(None, translations), None) or Translation(
        "denied", "a connection over TLS is not possible", in_own_words(error)
    )


_SYSTEM: Final[dict[type[BaseException], Row]] = {
    OSError: _system_error,
    ConnectionResetError: _closed,
    ConnectionAbortedError: _closed,
    BrokenPipeError: _closed,
    EOFError: _closed,
    socket.gaierror: _no_name,
    TimeoutError: _no_answer_in_time,
    asyncio.TimeoutError: _no_answer_in_time,
    ssl.SSLError: _tls,
}

_AIOHTTP: Final[dict[str, Row]] = {
    "ClientError": _look_at_cause,
    "ClientConnectionError": _look_at_cause,
    "ClientConnectionResetError": _closed,
    "ClientOSError": _system_error,
    "ClientConnectorError": _system_error,
    "ClientConnectorDNSError": _look_at_cause,
    "ClientProxyConnectionError": _system_error,
    "UnixClientConnectorError": _system_error,
    "ClientSSLError": _tls_of_aiohttp,
    "ClientConnectorSSLError": _tls_of_aiohttp,
    "ClientConnectorCertificateError": _tls_of_aiohttp,
    "ServerFingerprintMismatch": _tls_of_aiohttp,
    "ServerConnectionError": _look_at_cause,
    "ServerTimeoutError": _no_connection_in_time,  # only the connection has a time limit of its own
    "ConnectionTimeoutError": _no_connection_in_time,
    "SocketTimeoutError": _no_answer_in_time,
    "ServerDisconnectedError": _closed,
    "ClientResponseError": _not_http,
    "ClientHttpProxyError": _not_http,
    "ContentTypeError": _not_http,
    "TooManyRedirects": _not_http,
    "WSServerHandshakeError": _not_http,
    "ClientPayloadError": _cut_short,
    "UploadAbortedError": _look_at_cause,
    # Not raised by the calls of this package; reported as aiohttp words them.
    "InvalidURL": _unforeseen,
    "InvalidUrlClientError": _unforeseen,
    "InvalidUrlRedirectClientError": _unforeseen,
    "NonHttpUrlClientError": _unforeseen,
    "NonHttpUrlRedirectClientError": _unforeseen,
    "RedirectClientError": _unforeseen,
    "EofStream": _unforeseen,
    "WebSocketError": _unforeseen,
    "WSMessageTypeError": _unforeseen,
}
"""The rows of aiohttp's exceptions, by name, because a release of aiohttp may lack some of them."""


def _of_aiohttp(name: str) -> type[BaseException] | None:
    known = getattr(aiohttp, name, None) or getattr(aiohttp.client_exceptions, name, None)
    return known if isinstance(known, type) and issubclass(known, BaseException) else None


TABLE: Final[dict[type[BaseException], Row]] = _SYSTEM | {
    known: row for name, row in _AIOHTTP.items() if (known := _of_aiohttp(name)) is not None
}
"""The meaning of every foreign exception class; the most specific class of an exception counts."""
