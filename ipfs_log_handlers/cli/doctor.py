"""`ipfs-logs doctor`: what keeps logs from being kept or shipped, and what to do about it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Final, Literal

import click

from ipfs_log_handlers.cli.addresses import Addresses, addresses_of
from ipfs_log_handlers.cli.common import Place, take_lock, verb
from ipfs_log_handlers.cli.output import neutral, put_json, several, size
from ipfs_log_handlers.errors import ConfigurationError, HomeError, StoreError
from ipfs_log_handlers.home import disk, keys, lock, quarantine, segments
from ipfs_log_handlers.home.batch_files import BatchFiles
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.keeper.repair import Repair, repair, repair_key
from ipfs_log_handlers.reading.damage import Damage, find, leftovers
from ipfs_log_handlers.reading.logs import Log, confirmed, logs_of, signers, titles
from ipfs_log_handlers.status import status
from ipfs_log_handlers.stores import StoreInfo, open_store

__all__ = ["command"]

_LITTLE: Final = 64 << 20
_PATIENCE: Final = 10.0
_WARNED: Final = "Give the programs one policy for this subsystem, and segments that this user can read."
_SEALS: Final = "Run `ipfs-logs ship`, or start the program again: what waits is sealed then."
_RESTORE: Final = (
    "Restore it from a copy before a program logs here again: the next keeper makes a new key and begins new logs."
)
_EXCHANGED: Final = "Put that key back before a program logs here again: the next keeper begins new logs with this one."
_SEVERAL_KEYS: Final = (
    "`ipfs-logs verify --key VKEY --key VKEY` takes the verifier key of each, the one of `ipfs-logs keys show` too."
)
_MOST_NAMED: Final = 5
_SIGNS: Final = {"ok": "ok  ", "warn": "WARN", "fail": "FAIL"}


@dataclass(frozen=True, slots=True)
class _Check:
    """The outcome of one look."""

    check: str
    state: Literal["ok", "warn", "fail"]
    found: str
    hint: str | None = None


@click.command("doctor")
@click.option("--kubo", multiple=True, metavar="URL", help="Look at this daemon instead of the configured ones.")
@click.option("--token", metavar="TOKEN", help="bearer:…, basic:…, env:NAME or file:PATH.")
@click.option("--repair", "mending", is_flag=True, help="Rebuild what is damaged; what it replaces is kept.")
@verb
def command(place: Place, kubo: tuple[str, ...], token: str | None, mending: bool) -> int:  # noqa: FBT001
    """Look for what keeps logs from being kept or shipped, and for damaged files.

    Exit code 4 when a store is out of reach, 2 when something else fails; a warning is no failure.

    --repair rebuilds damaged files from the rest of the home, from the stores and from the key, then looks again. Each
    file that it replaces stays in quarantine/. No other process may keep the home meanwhile.
    """
    home = place.home
    addresses = addresses_of(home, kubo)
    token = token or os.environ.get("IPFS_LOGS_TOKEN")
    code = 0
    repairs = asyncio.run(_repair(home, addresses.all, token)) if mending else None
    done = [_Check(f"repair {each.what}", "ok" if each.done else "fail", each.told) for each in repairs or ()]
    for each in chain(done, _checks(home, addresses, token, repairs)):
        if each.state == "fail" and code != 4:
            code = 4 if each.check == "store" else 2
        if place.json:
            put_json(asdict(each))
        else:
            hint = f"\n      {neutral(each.hint)}" if each.hint else ""
            click.echo(f"{_SIGNS[each.state]}  {each.check}: {neutral(each.found)}{hint}")
    return code


def _checks(home: Home, addresses: Addresses, token: str | None, repairs: Sequence[Repair] | None) -> Iterator[_Check]:
    yield _home(home)
    yield _mount(home)
    yield _key(home)
    yield _space(home)
    yield _keeper(home)
    for room in home.rooms():
        yield from _room(room, alone=lock.holder(home) is None)
        yield from _damaged(room, repairs, alone=lock.holder(home) is None, stores=bool(addresses.all))
        yield from _set_aside(room)
    for each in status(home.path):
        for warning in each["warnings"]:
            yield _Check(f"{each['subsystem']} spool", "warn", warning, _WARNED)
        if each["archives_waiting"] and each["keeper"] is None:
            found = f"{several(each['archives_waiting'], 'archive')} in no batch yet, and nobody keeps this home"
            yield _Check(f"{each['subsystem']} archives", "warn", found, _SEALS)
    if not addresses.all:
        yield _Check("store", "ok", "none is configured: nothing leaves this machine")
    for address in addresses.all:
        check = _store(address, token)
        yield check if addresses.variable is None else replace(check, found=f"{addresses.variable}: {check.found}")


def _home(home: Home) -> _Check:
    about = os.stat(home.path)
    mode = stat.S_IMODE(about.st_mode)
    if about.st_uid != os.geteuid():
        return _Check("home", "fail", f"{home.path} belongs to user {about.st_uid}", "Name a home of your own.")
    if mode & 0o077:
        return _Check("home", "warn", f"{home.path} has mode {mode:04o}", f"Run chmod 700 {home.path}")
    return _Check("home", "ok", str(home.path))


def _mount(home: Home) -> _Check:
    kind = disk.network_mount(home.path)
    if kind is None:
        return _Check("mount", "ok", "a local disk")
    return _Check("mount", "fail", f"a {kind} mount, on which nothing is signed", "Put the home on a local disk.")


def _key(home: Home) -> _Check:
    logs = [log for room in home.rooms() for log in logs_of(room)]  # before the key, which is there before any log
    try:
        key = keys.load(home)
    except (HomeError, OSError) as error:
        return _Check("key", "fail", str(error))
    if key is None and not logs:
        return _Check("key", "ok", "none yet: made with the first batch")
    if key is None:
        by = " and ".join(signers(logs)) or "a key whose name is lost too"
        return _Check("key", "fail", f"writer.key is missing, but this home has batches signed with {by}", _RESTORE)
    others = [name for name in signers(log for log in logs if _is_current(log)) if name != key.name]
    if others:
        found = f"this is {key.name}, but this home goes on with logs signed with {' and '.join(others)}"
        return _Check("key", "fail", found, _EXCHANGED)
    former = [name for name in signers(logs) if name != key.name]
    if former:
        found = f"{key.name}, mode 0600; former logs are signed with another key, {' and '.join(former)}"
        return _Check("key", "warn", found, _SEVERAL_KEYS)
    return _Check("key", "ok", f"{key.name}, mode 0600")


def _is_current(log: Log) -> bool:
    return log.shelf.path.name == log.subsystem


def _space(home: Home) -> _Check:
    free = disk.free_bytes(home.path)
    if free < _LITTLE:
        return _Check("space", "fail" if free < 1 << 20 else "warn", f"{size(free)} free", "Make room on this disk.")
    return _Check("space", "ok", f"{size(free)} free")


def _keeper(home: Home) -> _Check:
    who = lock.holder(home)
    if who is None:
        return _Check("keeper", "ok", "none is running: the next program, or `ipfs-logs ship`, seals what waits")
    return _Check("keeper", "ok", f"pid {who['pid']} on {who['host']}")


def _room(room: Room, *, alone: bool) -> Iterator[_Check]:
    orphans = _orphans(room)
    if orphans:
        state: Literal["ok", "warn"] = "warn" if alone else "ok"
        hint = _SEALS if alone else None
        yield _Check(f"{room.name} spool", state, f"{several(orphans, 'segment')} whose program is gone", hint)
    kept = quarantine.listing(room.quarantine)
    if kept:
        named = ", ".join(kept[:_MOST_NAMED]) + (", …" if len(kept) > _MOST_NAMED else "")
        yield _Check(
            f"{room.name} quarantine", "warn", f"{len(kept)} damaged: {named}", f"They are kept in {room.quarantine}"
        )


def _set_aside(room: Room) -> Iterator[_Check]:
    logs = logs_of(room)
    called = titles(logs)
    for log in logs:
        for mark in confirmed(log, 1).marks:
            for each in mark.aside:
                yield _Check(
                    f"{called[log.shelf.path]} set aside",
                    "warn",
                    f"batch {each.index} at {mark.address}: {each.reason}",
                    "When its cause is gone, `ipfs-logs ship --retry-set-aside` sends it again.",
                )


def _damaged(room: Room, repairs: Sequence[Repair] | None, *, alone: bool, stores: bool) -> Iterator[_Check]:
    for each in chain(find(room), leftovers(room) if alone else ()):
        hint: str | None = "Run `ipfs-logs doctor --repair`." if alone else None
        if each.kind == "segment":
            hint = "Every other line is whole: the next keeper seals those, and puts these bytes into quarantine/."
        elif each.kind in ("batch", "head"):
            current = each.shelf.path == room.path
            hint = _cure(each, current=current, stores=stores) if repairs is None else _rest(each, repairs)
        yield _Check(each.title, "fail" if each.kind in ("batch", "head") else "warn", each.found, hint)


def _cure(each: Damage, *, current: bool, stores: bool) -> str:
    """What to do about a damaged batch or head."""
    if each.kind == "head" and current:
        return "The next keeper begins a new log after this one; before it, `ipfs-logs doctor --repair` rebuilds it."
    if each.kind == "batch" and not stores:
        return "Run `ipfs-logs doctor --repair`, with --kubo where a store has this batch."
    return "Run `ipfs-logs doctor --repair`."


def _rest(each: Damage, repairs: Sequence[Repair]) -> str:
    """What to do about a batch or head that is damaged after a repair: another repair alone would do no more."""
    if each.kind == "head":
        return "It can be rebuilt when every batch of its log can be read."
    files = " and ".join(map(str, BatchFiles(each.shelf.batches).files(each.index or 0)))
    lost = [one for one in repairs if not one.done and one.damage is not None and one.damage.kind == "batch"]
    others = "; all other batches are whole" if len(lost) == 1 else ""
    return f"Name a store that has it with --kubo, or restore {files} from a copy{others}."


async def _repair(home: Home, addresses: Sequence[str], token: str | None) -> list[Repair]:
    held = take_lock(home, "Stop it first: nothing is repaired under a keeper that works.")
    stores = []
    for address in addresses:
        with contextlib.suppress(ConfigurationError):  # told by the check of the store
            stores.append(open_store(address, token=token))
    try:
        done = [repair_key(held)]
        for room in home.rooms():
            done += [each async for each in repair(held, room, stores)]
    finally:
        for store in stores:
            await store.close()
        held.release()
    return [each for each in done if each is not None]


def _orphans(room: Room) -> int:
    """Segments that nobody holds: looked at by taking each lock for a moment."""
    found = 0
    for name in segments.listing(room.spool):
        with contextlib.suppress(OSError):
            descriptor = disk.open_locked(room.spool / name.file_name, os.O_RDONLY)
            if descriptor is not None:
                disk.close_locked(descriptor)
                found += 1
    return found


def _store(address: str, token: str | None) -> _Check:
    try:
        info = asyncio.run(_probe(address, token))
    except (StoreError, ConfigurationError) as error:
        return _Check("store", "fail", str(error))
    except (asyncio.TimeoutError, TimeoutError):
        return _Check("store", "fail", f"{address} did not answer within {_PATIENCE:.0f} s")
    found = f"{info.kind} {info.version} at {info.address}"
    if info.syncs is False:
        return _Check(
            "store",
            "warn",
            f"{found}, whose flatfs does not sync: a power cut there may lose confirmed blocks",
            "Set Datastore.Spec's sync to true, or keep payloads here (no max_store_bytes).",
        )
    return _Check("store", "ok", found)


async def _probe(address: str, token: str | None) -> StoreInfo:
    store = open_store(address, token=token)
    try:
        return await asyncio.wait_for(store.probe(), _PATIENCE)
    finally:
        await store.close()
