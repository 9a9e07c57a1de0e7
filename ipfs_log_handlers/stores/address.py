"""Check addresses, names and tokens of stores as users write them. No name is looked up, and no file is opened.

Two spellings of one address normalise to the same text, because this text gives the store its name, under which its
confirmations are stored. No error repeats a text that may contain a secret.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores.schemes import scheme_of

__all__ = ["AUTO", "authorization", "check_name", "multiaddr_to_url", "normalise", "normalise_token", "store_name"]

AUTO: Final = "auto"
"""The address that `$IPFS_PATH/api` names, else 127.0.0.1:5001."""

_FORMS: Final = "http://127.0.0.1:5001, /ip4/127.0.0.1/tcp/5001, /dns4/kubo/tcp/5001, /unix/run/kubo.sock or auto"
"""The forms of an address, for errors."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\.?")
_DEFAULT_PORTS = {"http": 80, "https": 443}
"""Ports that are left out of a normalised URL."""
_SECURE_TAILS = {("https",), ("tls", "http"), ("tls",)}
"""Parts after the port of a multiaddr that mean https."""
_PLAIN_TAILS: set[tuple[str, ...]] = {(), ("http",)}
"""Parts after the port of a multiaddr that mean http."""
_API_PATH = "/api/v0"  # dropped from the end of a URL
_MAX_ADDRESS_CHARS = 2048
"""Characters of an address; a longer text is refused."""
_TOKEN_FORMS = "bearer:SECRET, basic:USER:PASSWORD, env:NAME or file:PATH"  # noqa: S105 - forms, no token
_PLACES = ("env", "file")
"""Kinds of tokens that name the place of the secret."""
_SECRETS = ("bearer", "basic")
"""Kinds of tokens that are the secret."""


# -- addresses


def normalise(address: str) -> str:
    """Return the normalised address: a URL without a trailing slash, `/unix/…`, `auto` or `SCHEME:NAME`.

    Raises:
        ConfigurationError: the text is not an address. If it contains a credential, the error says so, but does not
            show the credential.
    """
    if not isinstance(address, str):
        raise ConfigurationError("the address of a store is not text", expected=_FORMS, found=type(address).__name__)
    text = address.strip()
    if not text or len(text) > _MAX_ADDRESS_CHARS or not text.isprintable():
        raise ConfigurationError("the address of a store is empty, too long or not printable", expected=_FORMS)
    if text.lower() == AUTO:
        return AUTO
    scheme = scheme_of(text)
    if scheme is not None:
        name, _, rest = text.partition(":")
        return f"{name}:{scheme.normalise(rest)}"
    if text.startswith(("cluster+", "remote:")):
        shown = repr(text) if "@" not in text else "(not shown)"
        raise ConfigurationError("the address of a pin service, not of a store", found=shown, hint="Give it as `pins`.")
    if text.startswith("/"):
        return _normalise_multiaddr(text)
    return _normalise_url(text)


def multiaddr_to_url(address: str) -> str:
    """Turn `/ip4/…/tcp/…` into a URL; a `/unix/…` address stays as it is."""
    return _normalise_multiaddr(address)


def _normalise_multiaddr(text: str) -> str:
    parts = text.strip("/").split("/")
    kind = parts[0]
    if kind == "unix":
        path = "/" + "/".join(part for part in parts[1:] if part)
        if len(path) < 2 or ".." in parts or any(p in {"http", "https"} for p in parts[-1:]):
            raise _not_an_address(text, "the address of a Unix socket is /unix/ and the absolute path of the socket")
        return "/unix" + path
    if kind not in {"ip4", "ip6", "dns", "dns4", "dns6"} or len(parts) < 4 or parts[2] != "tcp":
        raise _not_an_address(text, "a multiaddr of a daemon is /ip4|ip6|dns|dns4|dns6/HOST/tcp/PORT, or /unix/PATH")
    tail = tuple(parts[4:])
    if tail not in _SECURE_TAILS and tail not in _PLAIN_TAILS:
        raise _not_an_address(text, "only /http, /https or /tls/http may follow the port of a multiaddr")
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
            "the URL of a store contains a user name or password",
            expected="a URL without user information",
            hint=f"Give it as `token` instead: {_TOKEN_FORMS}",
        )
    if url.scheme not in _DEFAULT_PORTS or not url.hostname:
        raise _no_url(text)
    if url.query or url.fragment or "?" in text or "#" in text:
        raise ConfigurationError("the URL of a store has a query or a fragment", expected=_FORMS)
    return _url(url.scheme, url.hostname, port, url.path)


def _no_url(text: str) -> ConfigurationError:
    """Return the error for a text without http:// or https://; it suggests a URL if the text is a host or port."""
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
            raise ConfigurationError("the host of a store is not a host name or IP address", found=shown) from None
    if isinstance(port, str):
        port = int(port) if re.fullmatch(r"[0-9]{1,5}", port) else 0
    if port is not None and not 0 < port < 65536:
        raise ConfigurationError(
            "the port of a store is not a port number", expected="1 to 65535", where=f"{scheme}://{host}"
        )
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
    """Return the name of a store without a configured name: 16 hex digits of the SHA-256 of its address."""
    import hashlib  # hashlib loads OpenSSL, which logging does not need

    return hashlib.sha256(normalise(address).encode()).hexdigest()[:16]


def check_name(name: str) -> str:
    """Return a name that a user gave, if it can be a file name in a home."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "the name of a store cannot be a file name",
            expected="up to 64 letters, digits, dots, dashes and underscores, the first a letter or digit",
            found=repr(name)[:80],
        )
    return name


# -- tokens


def normalise_token(token: object, where: str = "token") -> str | None:
    """Check the form of a token without reading the variable or file of `env:` and `file:`; no error shows the secret.

    Args:
        token: as a user gave it; `None` or empty text means no token.
        where: the name of the setting, for the error.

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
    """Return the Authorization header for a secret in Kubo's own form; without a kind it is a bearer token.

    Args:
        secret: the secret.
        where: the name of the setting, for the error.

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
        raise ConfigurationError("contains characters that a header cannot have", where=where, expected=_TOKEN_FORMS)
    if kind == "bearer":
        return f"Bearer {value}"
    if ":" in value:
        return "Basic " + base64.b64encode(value.encode()).decode()
    if re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", value):
        return f"Basic {value}"
    raise ConfigurationError("neither USER:PASSWORD nor its base64 follows basic:", where=where, expected=_TOKEN_FORMS)


def _no_kind(secret: str, where: str) -> ConfigurationError:
    """Return the error; it shows the text before the colon only if it looks like a kind: it may be a secret."""
    import difflib

    before = re.split(r"[:\s]", secret, maxsplit=1)[0]
    near = difflib.get_close_matches(before.lower(), [*_PLACES, *_SECRETS], n=1)
    return ConfigurationError(
        "of no known kind",
        where=where,
        expected=_TOKEN_FORMS,
        found=f"{before!r}, perhaps {near[0]}:" if near else None,
        hint=None if near else "Write bearer: before a token that contains a colon.",
    )
