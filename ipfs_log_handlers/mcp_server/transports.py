"""Serve over stdin and stdout, or over streamable HTTP.

HTTP is for this machine: the server binds a loopback address, and refuses requests whose Host or Origin is foreign, so
that a page in a browser cannot ask it (DNS rebinding). Another address needs a token of its clients.
"""

from __future__ import annotations

import hmac
import logging
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.mcp_server.settings import ServerSettings

if TYPE_CHECKING:
    from mcp.server.auth.provider import AccessToken

__all__ = ["HttpAddress", "serve_http", "serve_stdio"]

_PATH: Final = "/mcp"
"""Path of the only endpoint."""
_MAX_BODY_BYTES: Final = 1 << 20
"""Bytes of a request; no tool takes arguments that are nearly as long."""
_LEAVE_S: Final = 3
"""Seconds that requests have to end after a signal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAddress:
    """Where the server listens, and who may ask it.

    Raises:
        ConfigurationError: another address than loopback without a token, or no name by which clients reach an address
            that stands for all of this machine.
    """

    ip: IPv4Address | IPv6Address
    """An address of this machine."""
    port: int = 0
    """The port; 0: any free one."""
    token: str | None = field(default=None, repr=False)
    """The token that each request must have; `None`: none."""
    names: tuple[str, ...] = ()
    """Further names by which clients reach the server; its own address is always one."""

    def __post_init__(self) -> None:
        if self.ip.is_loopback:
            return
        if self.token is None:
            raise ConfigurationError(
                f"{self.ip} is not an address of this machine alone, and the server has no token",
                where="--address",
                hint="Leave out --address, or add --token new.",
            )
        if self.ip.is_unspecified and not self.names:
            raise ConfigurationError(
                f"{self.ip} is no name by which a client can reach the server",
                where="--address",
                hint="Name the hosts that clients write in their address, with --allow-host.",
            )

    def allowed_hosts(self) -> list[str]:
        """Return the values of the header Host that are accepted: a name, with any port or none."""
        own = (
            ["127.0.0.1", "localhost", "::1"]
            if self.ip.is_loopback
            else []
            if self.ip.is_unspecified
            else [str(self.ip)]
        )
        names = [f"[{name}]" if ":" in name else name for name in (*own, *self.names)]
        return [form for name in names for form in (name, f"{name}:*")]


def _log_to_stderr() -> None:
    """Send what this process logs to stderr, so that it is neither on stdout nor in a home that it reads."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.WARNING)


def serve_stdio(settings: ServerSettings) -> None:
    """Serve one client over stdin and stdout, until it closes stdin.

    Args:
        settings: what is read and shown.
    """
    from ipfs_log_handlers.mcp_server.app import make_server

    _log_to_stderr()
    make_server(settings).run("stdio")


def serve_http(settings: ServerSettings, address: HttpAddress, on_start: Callable[[str], None]) -> None:
    """Serve any number of clients over streamable HTTP, until SIGINT or SIGTERM.

    Args:
        settings: what is read and shown.
        address: where the server listens.
        on_start: called with the URL when the server listens.

    Raises:
        OSError: the address cannot be bound.
    """
    import anyio
    import uvicorn
    from mcp.server.auth.settings import AuthSettings
    from mcp.server.transport_security import TransportSecuritySettings

    from ipfs_log_handlers.mcp_server.app import make_server

    _log_to_stderr()
    hosts = address.allowed_hosts()
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{host}" for scheme in ("http", "https") for host in hosts],
    )
    if address.token is None:
        server = make_server(settings)
    else:
        auth = AuthSettings(issuer_url="http://localhost", resource_server_url=None)  # type: ignore[arg-type]
        server = make_server(settings, token_verifier=_OneToken(address.token), auth=auth)
    app = server.streamable_http_app(
        streamable_http_path=_PATH,
        max_request_body_size=_MAX_BODY_BYTES,
        transport_security=security,
        host=str(address.ip),
    )
    with _listening(address) as listener:
        name = f"[{address.ip}]" if address.ip.version == 6 else address.ip
        on_start(f"http://{name}:{listener.getsockname()[1]}{_PATH}")
        config = uvicorn.Config(
            app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=_LEAVE_S
        )
        anyio.run(_serve, uvicorn.Server(config), [listener])


async def _serve(server: object, listeners: Sequence[socket.socket]) -> None:
    await server.serve(sockets=list(listeners))  # type: ignore[attr-defined]


def _listening(address: HttpAddress) -> socket.socket:
    family = socket.AF_INET6 if address.ip.version == 6 else socket.AF_INET
    return socket.create_server((str(address.ip), address.port), family=family)


class _OneToken:
    """Accepts one token.

    Args:
        token: the token.
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return the rights of a token; `None` for a wrong one. Its time does not tell how wrong it is."""
        from mcp.server.auth.provider import AccessToken

        if not hmac.compare_digest(token.encode(), self._token):
            return None
        return AccessToken(token="accepted", client_id="client", scopes=[])  # noqa: S106 - no secret
