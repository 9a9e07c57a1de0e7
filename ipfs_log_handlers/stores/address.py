"""Addresses, names and tokens of stores, as users write them: pure text, nothing is looked up or opened here.

Two spellings of one address normalise to the same text, because the name of a store, and with it what it has
confirmed, is made of that text. Whatever a user may have put a secret into is never repeated in an error.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from ipfs_log_handlers.errors import ConfigurationError

__all__ = ["AUTO", "authorization", "check_name", "multiaddr_to_url", "normalise", "normalise_token", "store_name"]

AUTO: Final = "auto"
"""Means: what `$IPFS_PATH/api` says, else 127.0.0.1:5001."""

_FORMS = "http://127.0.0.1:5001, /ip4/127.0.0.1/tcp/5001, /dns4/kubo/tcp/5001, /unix/run/kubo.sock or auto"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SECURE_TAILS = {("https",), ("tls", "http"), ("tls",)}
_PLAIN_TAILS: set[tuple[str, ...]] = {(), ("http",)}
_API_PATH = "/api/v0"
_MAX_ADDRESS = 2048
_TOKEN_FORMS = "bearer:SECRET, basic:USER:PASSWORD, env:NAME or file:PATH"  # noqa: S105 - says how to write one
_PLACES = ("env", "file")
"""Kinds of tokens that say where the secret is."""
_SECRETS = ("bearer", "basic")
"""Kinds of secrets."""


# -- addresses


def normalise(address: str) -> str:
    """Returns the one spelling of an address: a URL without a trailing slash, `/unix/…`, `auto` or `memory:NAME`.

    Raises:
        ConfigurationError: it is not an address; a credential in it is named as the fault and not shown.
    """
    if not isinstance(address, str):
        raise ConfigurationError("the address of a store is not text", expected=_FORMS, found=type(address).__name__)
    text = address.strip()
    if not text or len(text) > _MAX_ADDRESS or not text.isprintable():
        raise ConfigurationError("the address of a store is empty, too long or not printable", expected=_FORMS)
    if text.lower() == AUTO:
        return AUTO
    if text.startswith("memory:"):
        return "memory:" + check_name(text.removeprefix("memory:"))
    if text.startswith("/"):
        return _normalise_multiaddr(text)
    return _normalise_url(text)


def multiaddr_to_url(address: str) -> str:
    """Turns `/ip4/…/tcp/…` into a URL; a `/unix/…` address stays as it is."""
    return _normalise_multiaddr(address)


def _normalise_multiaddr(text: str) -> str:
    parts = text.strip("/").split("/")
    kind = parts[0]
    if kind == "unix":
        path = "/" + "/".join(part for part in parts[1:] if part)
        if len(path) < 2 or ".." in parts or any(p in {"http", "https"} for p in parts[-1:]):
            raise _not_an_address(text, "a Unix socket is written /unix/ and the absolute path of the socket")
        return "/unix" + path
    if kind not in {"ip4", "ip6", "dns", "dns4", "dns6"} or len(parts) < 4 or parts[2] != "tcp":
        raise _not_an_address(text, "a multiaddr of a daemon is /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT, or /unix/PATH")
    tail = tuple(parts[4:])
    if tail not in _SECURE_TAILS and tail not in _PLAIN_TAILS:
        raise _not_an_address(text, "after the port may stand /http, /https or /tls/http")
    return _url("https" if tail in _SECURE_TAILS else "http", _multiaddr_host(kind, parts[1], text), parts[3], "")


def _multiaddr_host(kind: str, host: str, text: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if kind in {"ip4", "ip6"}:
            raise _not_an_address(text, f"{host!r} is not an {kind} address") from None
        return host
    if kind in {"ip4", "ip6"} and address.version != int(kind[2]):
        raise _not_an_address(text, f"{host} is not an {kind} address")
    return host


def _normalise_url(text: str) -> str:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise ConfigurationError("the URL of a store cannot be read", expected=_FORMS) from None
    if "@" in url.netloc or "@" in text:
        raise ConfigurationError(
            "the URL of a store carries a user name or password",
            expected="a URL without user information",
            hint=f"Give it as `token` instead: {_TOKEN_FORMS}",
        )
    if url.scheme not in _DEFAULT_PORTS or not url.hostname:
        raise _no_url(text)
    if url.query or url.fragment or "?" in text or "#" in text:
        raise ConfigurationError("the URL of a store has a query or a fragment", expected=_FORMS)
    return _url(url.scheme, url.hostname, port, url.path)


def _no_url(text: str) -> ConfigurationError:
    """The error at a text without http:// or https://; where it is a host, a port or both, with the URL of that."""
    if re.fullmatch(r"[\w.-]+(:\d+)?", text):
        whole = f"127.0.0.1:{text}" if text.isdigit() else text if ":" in text else f"{text}:5001"
        with suppress(ConfigurationError):
            near = _normalise_url(f"http://{whole}")
            return ConfigurationError("not the address of a store", found=f"{text!r}, perhaps {near}")
    return _not_an_address(text, "The RPC of Kubo speaks http or https")


def _url(scheme: str, host: str, port: int | str | None, path: str) -> str:
    try:
        host = ipaddress.ip_address(host.lower()).compressed
        host = f"[{host}]" if ":" in host else host
    except ValueError:
        host = host.lower()
        if not _HOST.fullmatch(host):
            shown = repr(host) if "@" not in host else None
            raise ConfigurationError("the host of a store is not a host name or address", found=shown) from None
    if isinstance(port, str):
        port = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
    if port is not None and not 0 < port < 65536:
        raise ConfigurationError("the port of a store is not a port", expected="1 to 65535", where=f"{scheme}://{host}")
    path = re.sub(r"/+", "/", path).rstrip("/").removesuffix(_API_PATH)
    if any(part in {".", ".."} for part in path.split("/")):
        raise ConfigurationError("the path in the URL of a store has a . or .. in it", found=path)
    shown = "" if port is None or port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown}{path}"


def _not_an_address(text: str, hint: str) -> ConfigurationError:
    shown = text if "@" not in text else "(not shown)"
    return ConfigurationError("not the address of a store", expected=_FORMS, found=repr(shown), hint=hint)


# -- names


def store_name(address: str) -> str:
    """Returns the name of a store that was given none: 16 hex digits of the SHA-256 of its normalised address."""
    import hashlib  # loads OpenSSL, which logging does without

    return hashlib.sha256(normalise(address).encode()).hexdigest()[:16]


def check_name(name: str) -> str:
    """Returns a name that a user gave, if it can be a file name in a home."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "the name of a store cannot be a file name",
            expected="up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
            found=repr(name)[:80],
        )
    return name


# -- tokens


def normalise_token(token: object, where: str = "token") -> str | None:
    """Checks the form of a token without looking behind `env:` and `file:`; the secret is never in the error.

    Args:
        token: as a user gave it; `None` or empty: there is none.
        where: under which name.

    Raises:
        ConfigurationError: another form.
    """
    if token is None or token == "":
        return None
    if not isinstance(token, str):
        raise ConfigurationError("not a text", where=where, expected=_TOKEN_FORMS, found=type(token).__name__)
    kind, _, rest = token.partition(":")
    if kind in _PLACES:
        if not rest.strip():
            raise ConfigurationError(f"nothing after {kind}:", where=where, expected=_TOKEN_FORMS)
        return token
    authorization(token, where)
    return token


def authorization(secret: str, where: str = "token") -> str:
    """Returns the Authorization header for a secret in Kubo's own form; without a kind it is a bearer token.

    Args:
        secret: the secret.
        where: under which name it was given.

    Raises:
        ConfigurationError: another form; the secret is not shown.
    """
    kind, colon, value = secret.strip().partition(":")
    if not colon:
        kind, value = "bearer", kind
    if kind not in _SECRETS or (not colon and re.match(r"(?i)(bearer|basic)\s", value)):
        raise _no_kind(secret.strip(), where)
    if not value:
        raise ConfigurationError(f"nothing after {kind}:", where=where, expected=_TOKEN_FORMS)
    if not value.isprintable() or (kind == "bearer" and not re.fullmatch(r"[!-~]+", value)):
        raise ConfigurationError("holds characters that no header can carry", where=where, expected=_TOKEN_FORMS)
    if kind == "bearer":
        return f"Bearer {value}"
    if ":" in value:
        return "Basic " + base64.b64encode(value.encode()).decode()
    if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", value):
        return f"Basic {value}"
    raise ConfigurationError(
        "neither USER:PASSWORD nor the base64 of it after basic:", where=where, expected=_TOKEN_FORMS
    )


def _no_kind(secret: str, where: str) -> ConfigurationError:
    """Shows what stands before the secret only where it is like one of the kinds: else it may be a part of it."""
    import difflib

    before = re.split(r"[:\s]", secret, maxsplit=1)[0]
    near = difflib.get_close_matches(before.lower(), [*_PLACES, *_SECRETS], n=1)
    return ConfigurationError(
        "of no known kind",
        where=where,
        expected=_TOKEN_FORMS,
        found=f"{before!r}, perhaps {near[0]}:" if near else None,
        hint=None if near else "A token that holds a colon is written with bearer: before it.",
    )
