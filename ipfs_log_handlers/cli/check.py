"""`ipfs-logs check`: check the bundle that proves one record, without a home and without a network."""

from __future__ import annotations

import json
import sys
from functools import partial

import click

from ipfs_log_handlers.cli.common import Place, verb
from ipfs_log_handlers.cli.output import complain, put_bytes, put_line, safe_json
from ipfs_log_handlers.errors import FormatError

__all__ = ["command"]


@click.command("check")
@click.argument("bundle", type=click.Path(dir_okay=False))
@click.option(
    "--key", "keys", multiple=True, required=True, metavar="VKEY",
    help="The verifier key to trust, or a file with it; may be repeated.",
)  # fmt: skip
@partial(verb, home=False)
def command(place: Place, bundle: str, keys: tuple[str, ...]) -> int:
    """Check a BUNDLE that `ipfs-logs prove` made, and print the record and its place.

    VKEY is the line that `ipfs-logs keys show` prints on the machine that logs. Get it from there, not with the bundle:
    a bundle only proves what the owner of this key has signed. No home and no network is used. BUNDLE may be - for
    stdin.

    Exit code 0 if the record is proven, 3 if the bundle is damaged, changed, or signed by another key.
    """
    from ipfs_log_handlers.api import MAX_BUNDLE, check, keys_to_trust, with_subsystem

    trusted = keys_to_trust(keys)
    if bundle == "-":
        data = sys.stdin.buffer.read(MAX_BUNDLE + 1)
    else:
        with open(bundle, "rb") as stream:
            data = stream.read(MAX_BUNDLE + 1)
    try:
        proven = check(data, trusted)
    except FormatError as error:
        complain(f"not a bundle, or a damaged one: {error}")
        return 3
    if place.json:
        rest = {key: value for key, value in proven.as_json().items() if key != "record"}
        record = safe_json(with_subsystem(proven.line, proven.subsystem))
        put_bytes(b'{"record":%b,%b\n' % (record, json.dumps(rest, separators=(",", ":")).encode()[1:]))
        return 0
    put_line(f"proven: record {proven.number} of {proven.records} in batch {proven.index} of {proven.log}")
    put_line(f"sealed {proven.sealed} in manifest {proven.cid}")
    put_line(f"signed by {proven.key} with {proven.tree_size} batches, root {proven.tree_root}")
    put_line(safe_json(proven.line).decode())
    return 0
