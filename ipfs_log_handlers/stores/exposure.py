"""Say from the configuration of a Kubo daemon whether strangers can find what is stored there.

A daemon *announces* a block when it tells a public routing, such as the DHT, that it has the block: anyone can then
list it and fetch it. `Provide.Enabled` decides it since Kubo 0.38, `Provider.Enabled` from 0.35 to 0.37, and
`Experimental.StrategicProviding` before. Only the file of the configuration is asked, as `config/show` gives it: a
daemon that runs offline today announces everything when it goes online.
"""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from typing import Any, Final

from ipfs_log_handlers.stores import Exposure

__all__ = ["exposure_of", "has_swarm_key"]

_PROVIDE_SINCE: Final = (0, 38)
"""The release of Kubo in which `Provide` took the place of `Provider` and `Reprovider`."""
_PROVIDER_SINCE: Final = (0, 35)
"""The release of Kubo that introduced `Provider.Enabled`."""
_MAX_CONFIG_CHARS: Final = 1 << 20
"""Characters that are read of the configuration of a daemon."""
_SWITCH_OFF: Final = {
    "Provide.Enabled": "`ipfs config --json Provide.Enabled false`",
    "Provider.Enabled": "`ipfs config --json Provider.Enabled false`",
    "Experimental.StrategicProviding": "`ipfs config --json Experimental.StrategicProviding true`",
}
"""The command that ends announcing, by the setting that decides it."""


def exposure_of(config: Mapping[str, Any] | None, version: tuple[int, int], *, has_swarm_key: bool) -> Exposure:
    """Return what a configuration says.

    Args:
        config: the answer of `config/show`; `None` if the token does not allow it.
        version: first two numbers of the version of Kubo.
        has_swarm_key: whether the daemon is known to be in a private network.
    """
    if config is None:
        return Exposure(
            announces=None,
            found="it does not tell whether strangers can find what is shipped there: the token lacks config/show",
            hint="Add /api/v0/config/show to its AllowedPaths: it shows no secret and changes nothing.",
        )
    announces, why, hint = _announcing(config, version, has_swarm_key=has_swarm_key)
    gateway = _open_address(config, "Gateway")
    found = f"{why}: strangers {'can find' if announces else 'cannot find'} what is shipped there"
    if gateway is not None:
        found += f"; its gateway {gateway} gives a block to everyone who can reach it and knows the CID"
        hint = f"{hint} " if hint else ""
        hint += "Set Addresses.Gateway to an address of this machine alone, such as /ip4/127.0.0.1/tcp/8080."
    return Exposure(announces=announces, found=found, open_gateway=gateway, hint=hint)


def has_swarm_key(environment: object, config: Mapping[str, Any]) -> bool:
    """Return whether a daemon on this machine has the key of a private network in its repository.

    The repository counts only if its configuration can be read, and has the peer id that the daemon says.

    Args:
        environment: the environment of the daemon, as `diag/sys` gives it.
        config: the answer of `config/show`.
    """
    path = environment.get("IPFS_PATH") if isinstance(environment, Mapping) else None
    repo = path if isinstance(path, str) and path else os.path.expanduser("~/.ipfs")
    try:
        with open(os.path.join(repo, "config"), encoding="utf-8") as file:
            own = json.loads(file.read(_MAX_CONFIG_CHARS))
    except (OSError, ValueError, RecursionError):
        return False
    peer = _at(own, "Identity", "PeerID")
    return peer is not None and peer == _at(config, "Identity", "PeerID") and os.path.exists(f"{repo}/swarm.key")


def _announcing(
    config: Mapping[str, Any], version: tuple[int, int], *, has_swarm_key: bool
) -> tuple[bool, str, str | None]:
    """Return whether the daemon announces, the reason in words, and how to change it."""
    if has_swarm_key:
        return False, "it is in a private network (swarm.key), which only nodes with the same key enter", None
    if _at(config, "Routing", "Type") == "none":
        return False, "it has no routing (Routing.Type is none), so it announces nothing", None
    if version < _PROVIDER_SINCE:
        name, off = "Experimental.StrategicProviding", True
    else:
        name, off = ("Provide.Enabled" if version >= _PROVIDE_SINCE else "Provider.Enabled"), False
    value = _at(config, *name.split("."))
    if value is off:
        return False, f"it announces nothing ({name} is {str(off).lower()})", None
    section = "Provide" if version >= _PROVIDE_SINCE else "Reprovider"
    strategy = _at(config, section, "Strategy") or "all"
    setting = f"{section}.Strategy is {strategy}"
    if version >= _PROVIDE_SINCE and set(str(strategy).split("+")) - {"unique", "entities"} == {"mfs"}:
        return False, f"it announces only files of its MFS ({setting}), and no batch is there", None
    hint = f"Run {_SWITCH_OFF[name]} there, or set Routing.Type to none, or use a private network; then restart it."
    return True, f"it announces blocks to the public network ({setting})", hint


def _open_address(config: Mapping[str, Any], name: str) -> str | None:
    """Return the first address of a service that other machines can reach; `None` if there is none."""
    addresses = _at(config, "Addresses", name)
    for address in addresses if isinstance(addresses, list) else [addresses]:
        parts = address.split("/") if isinstance(address, str) else []
        if len(parts) > 2 and parts[1] in {"ip4", "ip6"} and not _is_loopback(parts[2]):
            return str(address)
        if len(parts) > 2 and parts[1].startswith("dns") and parts[2] != "localhost":
            return str(address)
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _at(config: Mapping[str, Any], *names: str) -> Any:
    value: Any = config
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
