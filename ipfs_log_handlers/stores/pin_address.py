"""Check the addresses of pin services as users write them: an IPFS Cluster, or a remote pinning service.

`cluster+http://HOST:9094` is the REST API of an IPFS Cluster, also with https; `replication-min` and `replication-max`
may follow as a query. `remote:SERVICE` is a remote pinning service under the name that the Kubo of a store knows
(`ipfs pin remote service ls`). No name is looked up, and no error repeats a text that may contain a secret.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores.address import multiaddr_to_url, normalise

__all__ = ["CLUSTER", "REMOTE", "is_pin_service", "normalise_pin_service", "pin_service_name", "replication"]

CLUSTER: Final = "cluster+"
"""Beginning of the address of an IPFS Cluster."""
REMOTE: Final = "remote:"
"""Beginning of the address of a remote pinning service."""
_FORMS: Final = "cluster+http://127.0.0.1:9094 (the REST API of an IPFS Cluster) or remote:SERVICE"
"""The forms of an address, for errors."""
_SERVICE: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_ -]{0,63}(?<! )")
"""Name of a remote pinning service; a name with a dot cannot be read from the configuration of Kubo."""
_OPTIONS: Final = ("replication-min", "replication-max")
"""Options of a pin that an address of a cluster may have, in the order of a normalised address."""
_MAX_REPLICATION: Final = 1000
"""Largest number of peers that an address may ask for."""
_MAX_CHARS: Final = 2048
"""Characters of an address; a longer text is refused."""
_KUBO_PORT: Final = 5001
"""Usual port of Kubo's RPC, which is no pin service."""
_PROXY_PORT: Final = 9095
"""Usual port of the proxy of an IPFS Cluster: it speaks Kubo's RPC, and pins nothing that `dag/import` uploads."""


def is_pin_service(address: str) -> bool:
    """Return whether an address is that of a pin service, and not of a store."""
    return address.startswith((CLUSTER, REMOTE))


def normalise_pin_service(address: str) -> str:
    """Return the one spelling of the address of a pin service.

    Raises:
        ConfigurationError: the text is no such address; the error names the nearest right form. A credential in it is
            not shown.
    """
    if not isinstance(address, str):
        raise ConfigurationError("the address of a pin service is not text", expected=_FORMS, found=type(address))
    text = address.strip()
    if not text or len(text) > _MAX_CHARS or not text.isprintable():
        raise ConfigurationError("the address of a pin service is empty, too long or not printable", expected=_FORMS)
    if text.startswith(REMOTE):
        return _remote(text)
    if text.startswith(CLUSTER):
        return _cluster(text)
    raise _unknown(text)


def pin_service_name(address: str) -> str:
    """Return the name of a pin service in a home: 16 hex digits of the SHA-256 of its address."""
    import hashlib  # hashlib loads OpenSSL, which logging does not need

    return hashlib.sha256(normalise_pin_service(address).encode()).hexdigest()[:16]


def replication(address: str) -> tuple[str, dict[str, str]]:
    """Return the URL of a cluster, and the options that each of its pins gets.

    Args:
        address: a normalised address that begins with `cluster+`.
    """
    url, _, query = address.removeprefix(CLUSTER).partition("?")
    return url, dict(parse_qsl(query))


def _remote(text: str) -> str:
    service = text.removeprefix(REMOTE).strip("/").strip()
    if not _SERVICE.fullmatch(service):
        raise ConfigurationError(
            "not the name of a remote pinning service",
            expected="remote: and up to 64 letters, digits, dashes and underscores",
            found=repr(text) if "@" not in text else "(not shown)",
            hint="`ipfs pin remote service ls` lists the names that your Kubo knows.",
        )
    return REMOTE + service


def _cluster(text: str) -> str:
    inner, _, query = text.removeprefix(CLUSTER).partition("?")
    if "@" in text:
        raise ConfigurationError(
            "the address of a cluster contains a user name or password",
            expected="an address without user information",
            hint="Give it as `pins_token` instead: basic:USER:PASSWORD, bearer:SECRET, env:NAME or file:PATH",
        )
    try:
        url = multiaddr_to_url(inner) if inner.startswith("/") else normalise(inner)
    except ConfigurationError as error:
        raise ConfigurationError("not the address of a cluster", expected=_FORMS, found=repr(text)) from error
    if not url.startswith(("http://", "https://")):
        raise ConfigurationError("not the address of a cluster", expected=_FORMS, found=repr(text))
    port = urlsplit(url).port
    if port in (_KUBO_PORT, _PROXY_PORT):
        what = "Kubo's RPC" if port == _KUBO_PORT else "the proxy of an IPFS Cluster, which sees no uploaded batch"
        near = CLUSTER + url.replace(f":{port}", ":9094", 1)
        raise ConfigurationError(
            f"port {port} is usually {what}",
            expected="the REST API of the cluster",
            found=f"{text!r}, perhaps {near}",
        )
    options = _options(query, text)
    return (
        CLUSTER
        + url
        + ("?" + "&".join(f"{name}={options[name]}" for name in _OPTIONS if name in options)) * bool(options)
    )


def _options(query: str, text: str) -> dict[str, int]:
    """Read the options of a pin: how many peers of the cluster must and may keep it."""
    options: dict[str, int] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS or name in options:
            raise ConfigurationError(
                "no such option of a pin", expected="replication-min=N and replication-max=N", found=repr(text)
            )
        if not re.fullmatch(r"[0-9]{1,4}", value) or not 1 <= int(value) <= _MAX_REPLICATION:
            raise ConfigurationError(
                f"{name} is not a number of peers", expected=f"1 to {_MAX_REPLICATION}", found=repr(value)
            )
        options[name] = int(value)
    least, most = (options.get(name) for name in _OPTIONS)
    if least is not None and most is not None and least > most:
        raise ConfigurationError("replication-min is larger than replication-max", found=repr(text))
    return options


def _unknown(text: str) -> ConfigurationError:
    """Return the error for another beginning; it suggests the form that may be meant."""
    if "@" in text:
        return ConfigurationError("not the address of a pin service", expected=_FORMS, found="(not shown)")
    near = _near(text)
    found = f"{text!r}, perhaps {near}" if near else repr(text)
    return ConfigurationError("not the address of a pin service", expected=_FORMS, found=found)


def _near(text: str) -> str | None:
    """Return the right address that a text may stand for."""
    lower = text.lower()
    for beginning in ("cluster+", "cluster://", "cluster:", "http+cluster://", "cluster-"):
        if lower.startswith(beginning):
            text = text[len(beginning) :].removeprefix("//")
            break
    if lower.startswith(("remote+", "remote/", "remote-", "remote ", "remote_")):
        return _if_right(REMOTE + text[len("remote") + 1 :].lstrip("/: "))
    if text.startswith(("http://", "https://", "/")):
        return _if_right(CLUSTER + text)
    if re.fullmatch(r"[\w.-]*:\d+|\d+(\.\d+){3}|localhost", text):
        host, _, port = text.partition(":")
        return _if_right(f"{CLUSTER}http://{host or '127.0.0.1'}:{port or 9094}")
    return _if_right(REMOTE + text)


def _if_right(address: str) -> str | None:
    with suppress(ConfigurationError):
        return normalise_pin_service(address)
    return None
