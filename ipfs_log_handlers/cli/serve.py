"""`ipfs-logs serve`: show the records in a browser."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from ipfs_log_handlers.cli.addresses import ip_address_of
from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import put_json, put_line, remark
from ipfs_log_handlers.cli.source_options import SourceChoice, source_options
from ipfs_log_handlers.cli.tokens import token_of

if TYPE_CHECKING:
    from ipfs_log_handlers.server.sources import Options, Sources

__all__ = ["command"]

_PORT: Final = 8600
"""The port without `--port`."""


@click.command("serve")
@click.option("--address", metavar="IP", default="127.0.0.1", help="The IP address to listen on; default: 127.0.0.1.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=_PORT, metavar="N", help=f"The port; 0: any. Default: {_PORT}."
)
@click.option("--token", metavar="TOKEN", help="Answer only who has TOKEN: new, env:NAME, file:PATH, or the token.")
@click.option("--behind-proxy", "names", multiple=True, metavar="HOST", help="A proxy passes requests for HOST on.")
@click.option("--sql", is_flag=True, help="Also answer queries in SQL, each in a limited process.")
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@verb
@source_options
def command(
    place: Place,
    *,
    chosen: SourceChoice,
    token: str | None,
    names: tuple[str, ...],
    address: str,
    port: int,
    sql: bool,
    opens: bool,
) -> int:
    """Show the records in a browser, with their proofs, until Ctrl-C.

    The page has the records, counts over time, a live tail, the logs and the health of the home. Nothing is changed.
    Without --source the home is shown. stdout gets the address of the page.

    Only this machine can reach the server, unless --address is given. That needs --token, so that strangers see
    nothing, or --behind-proxy with the name of a proxy that lets only the right people in. `--token new` makes a
    token; the link with it is printed once, and the browser keeps a cookie.

    /metrics has the state of the home for Prometheus, and Grafana and logcli find Loki's API at the same address.
    docs/serve.md and docs/loki.md describe both.
    """
    options = _options(address, port, None if token is None else token_of(token), names, sql=sql)
    try:
        from ipfs_log_handlers.loki import routes
        from ipfs_log_handlers.server.app import application
        from ipfs_log_handlers.server.running import serve
    except ImportError as error:
        raise click.UsageError(f"the server needs aiohttp: {error}") from error
    sources = _sources(place, chosen)
    if sql:
        _check_sql()

    def ready(url: str) -> None:
        link = f"{url}login?token={options.token}" if options.token is not None else url
        shown = link if token == "new" else f"{url}login?token=TOKEN" if options.token is not None else url  # noqa: S105
        if place.json:
            put_json({"url": url, "link": shown})
        else:
            put_line(f"The records are at {shown}")
            remark("Ctrl-C ends the server")
        if opens:
            import webbrowser

            if not webbrowser.open(link):
                remark("no browser could be opened: open the address yourself")

    serve(lambda: application(sources, options, routes(sources.open_complete)), options, ready)
    return 0


def _options(address: str, port: int, token: str | None, names: tuple[str, ...], *, sql: bool) -> Options:
    from ipfs_log_handlers.server.sources import Options

    parsed = ip_address_of(address)
    if not parsed.is_loopback and token is None and not names:
        raise click.UsageError(
            f"other machines can reach {parsed}: add --token new, or --behind-proxy HOST if a proxy asks people who "
            "they are"
        )
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}", name, re.ASCII):
            raise click.UsageError(f"--behind-proxy takes the name of a host, such as logs.example.org, not {name!a}")
    return Options(address=str(parsed), port=port, token=token, names=names, sql=sql)


def _sources(place: Place, given: SourceChoice) -> Sources:
    """Return what is shown; open it once, so that an error is told now.

    Raises:
        ConfigurationError, HomeError: a source cannot be opened.
    """
    from ipfs_log_handlers.api import keys_to_trust
    from ipfs_log_handlers.server.sources import Source, Sources

    chosen = replace(given, keys=keys_to_trust(given.keys))
    homes = _homes_in(chosen.sources) if chosen.sources else [place.home]
    chosen.open(place, lambda _: None).close()
    of_homes = {str(home.path.resolve()) for home in homes}
    names = chosen.sources or (str(homes[0].path),)
    listed = tuple(Source(name=name, kind="home" if os.path.realpath(name) in of_homes else "other") for name in names)
    return Sources(
        open=partial(chosen.open, place), listed=listed, homes=tuple(homes), keys=chosen.keys, verify=chosen.verify
    )


def _homes_in(given: tuple[str, ...]) -> list[Any]:
    """Open those of the sources that are homes."""
    from ipfs_log_handlers.api import open_home
    from ipfs_log_handlers.errors import HomeError

    homes: dict[str, Any] = {}
    for name in given:
        if os.path.isdir(name):
            try:
                homes.setdefault(os.path.realpath(name), open_home(name))
            except HomeError:
                continue  # a directory with CAR files
    return list(homes.values())


def _check_sql() -> None:
    """Check that queries in SQL can be answered.

    Raises:
        UsageError: a library is missing.
    """
    import importlib.util

    missing = [name for name in ("duckdb", "pyarrow") if importlib.util.find_spec(name) is None]
    if missing:
        raise click.UsageError(f"--sql needs {' and '.join(missing)}: install ipfs_log_handlers[query]")
