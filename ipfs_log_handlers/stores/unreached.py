"""Why a daemon was not reached, in plain words: a foreign exception in, a sentence out. No I/O.

What is not known here is told as the library tells it: strange, but not lost. aiohttp's TLS errors are made past the
constructors of ssl's, so that their attributes may be missing.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

import aiohttp

__all__ = ["broken", "said", "untrusted"]

_BROKEN: Final = (ConnectionResetError, ConnectionAbortedError, BrokenPipeError, EOFError)
_NO_WAY: Final = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
_NO_NAME: Final = {socket.EAI_NONAME, socket.EAI_FAIL, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"}

# Of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET, _OTHER_NAME, _OTHER_ADDRESS = 10, 9, 62, 64
_UNKNOWN_ISSUER: Final = {2, 18, 19, 20, 21}
_OWN_AUTHORITY: Final = "Let SSL_CERT_FILE name its authority, where that is one of your own"


def broken(error: BaseException) -> tuple[str, str | None]:
    """Why no answer came; and the exception itself, where it is none that is known here."""
    chain = list(_causes(error))
    for cause in chain:
        if isinstance(cause, socket.gaierror):  # before its number is looked at: that is none of errno's
            return _name(cause), None
    for cause in chain:
        if isinstance(cause, aiohttp.ClientPayloadError):
            return "the connection broke off before the answer was whole", None
        if isinstance(cause, (aiohttp.ServerDisconnectedError, *_BROKEN)):
            return "the connection broke off before an answer came", None
        if isinstance(cause, aiohttp.ClientResponseError):
            return "what answers there does not speak HTTP", None
        if isinstance(cause, OSError) and (told := _number(cause)):
            return told, None
    return "the daemon cannot be reached", said(error)


def _name(error: socket.gaierror) -> str:
    found = (error.strerror or str(error)).lower()
    return f"there is no such host ({found})" if error.errno in _NO_NAME else f"its name cannot be looked up ({found})"


def _number(error: OSError) -> str | None:
    numbers = {error.errno} if error.errno else {int(each) for each in _ERRNO.findall(str(error))}
    for wanted, told in (
        ({errno.ECONNREFUSED}, "nobody listens there"),
        ({errno.ENOENT}, "there is no such socket"),
        ({errno.EACCES, errno.EPERM}, "this user may not connect there"),
        ({errno.ETIMEDOUT}, "nobody answers there"),
        (_NO_WAY, "no way leads there"),
    ):
        if numbers & wanted:
            return f"{told} ({os.strerror(min(numbers & wanted)).lower()})"
    return None


def untrusted(error: aiohttp.ClientSSLError) -> tuple[str, str | None, str | None]:
    """Why no connection over TLS came about; the exception itself, where it is none that is known; what to do."""
    for cause in _causes(error):
        told = getattr(cause, "verify_message", None)
        if isinstance(cause, ssl.SSLCertVerificationError) and told:
            return _certificate(cause.verify_code, told.rstrip(".")), None, _advice(cause.verify_code)
        if isinstance(cause, ssl.SSLError) and getattr(cause, "reason", None) in _NO_TLS:
            return "what answers there does not speak TLS", None, "Write http:// where no TLS is wanted"
    return "no connection over TLS comes about", said(error), None


def _certificate(code: int, told: str) -> str:
    if code in (_OTHER_NAME, _OTHER_ADDRESS):
        return f"its certificate is for another name ({told})"
    if code == _EXPIRED:
        return "its certificate has expired"
    if code == _NOT_YET:
        return "its certificate is not valid yet"
    if code in _UNKNOWN_ISSUER:
        return f"nobody who is trusted here has signed its certificate ({told})"
    return f"its certificate is not trusted ({told})"


def _advice(code: int) -> str | None:
    return _OWN_AUTHORITY if code in _UNKNOWN_ISSUER else None


def said(error: BaseException) -> str:
    """An exception in its own words, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those that it came from, aiohttp's inner ones too."""
    while error is not None:
        yield error
        for name in ("os_error", "certificate_error"):
            inner = getattr(error, name, None)
            if isinstance(inner, BaseException):
                yield inner
        error = error.__cause__ or error.__context__
