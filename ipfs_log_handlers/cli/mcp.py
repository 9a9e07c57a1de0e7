"""`ipfs-logs mcp`: answer the questions of agents over the Model Context Protocol."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from ipfs_log_handlers.cli.addresses import ip_address_of
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import remark, remark_interrupt
from ipfs_log_handlers.cli.source_options import SourceChoice, source_options
from ipfs_log_handlers.cli.stopping import stop_on_signals
from ipfs_log_handlers.cli.tokens import token_of

if TYPE_CHECKING:
    from ipfs_log_handlers.api import Gap
    from ipfs_log_handlers.mcp_server.settings import ServerSettings

__all__ = ["command"]

_PORT: Final = 8765
"""The port without `--port`."""
_VARIABLE: Final = "IPFS_LOGS_MCP_TOKEN"
"""The variable that gives the token without `--token`."""


@click.command("mcp")
@click.option("--http", is_flag=True, help="Serve over HTTP, not over stdin and stdout.")
@click.option("--address", metavar="IP", help="With --http: the IP address to listen on; default: 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help=f"With --http: the port; default: {_PORT}; 0: any free one."
)
@click.option(
    "--token", metavar="TOKEN", help="With --http: clients must send TOKEN: new, env:NAME, file:PATH, or the token."
)
@click.option("--allow-host", "names", multiple=True, metavar="NAME", help="With --http: accept this Host, too.")
@click.option("--sql/--no-sql", default=None, help="Offer query_sql; default: over stdin and stdout, not with --http.")
@click.option("--redact", multiple=True, metavar="RULE", help="Also hide this field, or what @email etc. find.")
@click.option("--no-standard-redaction", is_flag=True, help="Hide nothing but what --redact names.")
@verb
@source_options
def command(
    place: Place,
    *,
    http: bool,
    address: str | None,
    port: int | None,
    token: str | None,
    names: tuple[str, ...],
    sql: bool | None,
    redact: tuple[str, ...],
    no_standard_redaction: bool,
    chosen: SourceChoice,
) -> int:
    """Let agents read the logs, over the Model Context Protocol (MCP).

    The program of the agent starts this command and talks to it over stdin and stdout; docs/mcp.md has its
    configuration. All tools only read. Answers have at most 64 kB. Passwords, tokens, addresses and other secrets are
    hidden in them: --redact adds names of fields, patterns and detectors.

    With --http the server listens on 127.0.0.1 until Ctrl-C, and refuses requests of web pages. Another address needs
    --token, or the same in IPFS_LOGS_MCP_TOKEN; `--token new` makes a token, which is printed once. This verb needs the
    extra mcp of the package, and query_sql the extra query.
    """
    given = {"--address": address, "--port": port, "--token": token, "--allow-host": names or None}
    only_http = [name for name, value in given.items() if value is not None]
    if only_http and not http:
        raise click.UsageError(f"{only_http[0]} is for HTTP: give --http, too")
    _check_extra()
    from ipfs_log_handlers.mcp_server.settings import STANDARD_REDACTION, ServerSettings

    rules = (*redact, *(() if no_standard_redaction else STANDARD_REDACTION))
    settings = ServerSettings(
        open=partial(chosen.open, place),
        redact=rules,
        sql=not http if sql is None else sql,
        keys=chosen.keys or _own_key(place, chosen),
    )
    _check_sources(settings)
    if http:
        return _serve_http(
            settings, "127.0.0.1" if address is None else address, _PORT if port is None else port, token, names
        )
    return _serve_stdio(settings)


def _check_extra() -> None:
    from ipfs_log_handlers.errors import ConfigurationError

    try:
        import mcp.server  # noqa: F401 - without it, nothing below can be imported
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the verb mcp needs {(error.name or 'mcp').partition('.')[0]}, which is not installed",
            hint="Run: pip install 'ipfs_log_handlers[mcp]'",
        ) from error


def _check_sources(settings: ServerSettings) -> None:
    """Open the sources once, so that a wrong one, or a wrong rule, ends the command before a client waits for it."""

    def ignore(_: Gap) -> None:
        """Leave gaps to the calls that meet them."""

    with settings.open(ignore) as dataset:
        if settings.redact:
            dataset.redact(*settings.redact)


def _own_key(place: Place, chosen: SourceChoice) -> tuple[str, ...]:
    """Return the verifier key of the home, if it is what is read; it checks the bundles that the server makes."""
    from ipfs_log_handlers.errors import LogStoreError

    if chosen.sources:
        return ()
    try:
        key = place.home.public_key()
    except (LogStoreError, OSError):
        return ()
    return () if key is None else (key.verifier,)


def _serve_http(settings: ServerSettings, ip: str, port: int, given: str | None, names: tuple[str, ...]) -> int:
    from ipfs_log_handlers.mcp_server.transports import HttpAddress, serve_http

    name = "--token" if given is not None else _VARIABLE
    wanted = given if given is not None else os.environ.get(_VARIABLE) or None
    token = None if wanted is None else token_of(wanted, name)
    address = HttpAddress(ip=ip_address_of(ip), port=port, token=token, names=names)

    def ready(url: str) -> None:
        remark(f"the MCP server listens at {url}; end it with Ctrl-C")
        if wanted == "new":
            remark(f"clients must send the header Authorization: Bearer {token}")

    with stop_on_signals():  # the server of the library ends at a signal, and then sends it again
        serve_http(settings, address, ready)
    return 0


def _serve_stdio(settings: ServerSettings) -> int:
    from ipfs_log_handlers.mcp_server.transports import serve_stdio

    if sys.stdin.isatty():
        remark("waiting for the messages of a client on stdin, where a program writes them; end it with Ctrl-C")
    signal.signal(signal.SIGINT, _leave)
    serve_stdio(settings)
    return 0


def _leave(*_: object) -> None:
    """End this process at once: a thread waits for stdin, which no signal ends, and nothing here is left to write."""
    remark_interrupt("interrupted")
    os._exit(130)
