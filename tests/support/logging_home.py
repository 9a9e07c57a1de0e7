"""Make and read homes step by step: segments made by hand, a keeper in steps, records in a spool."""

from __future__ import annotations

import contextlib
import json
import linecache
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, subsystems
from ipfs_log_handlers.config import Batch, Encrypt, Settings
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, head, lock, segments
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.policy import Policy
from ipfs_log_handlers.home.segments import Header, Segment
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.runtime.process import HomeProcess

WRITER = "00112233445566aa"
OTHER = "ffeeddccbbaa9988"
PACKAGE = str(Path(disk.__file__).parent.parent)


def wait_until(holds: Callable[[], object], *, deadline_s: float = 20.0) -> None:
    """Return as soon as a condition holds; fail when it does not in time."""
    until = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < until, "the condition did not become true"
        time.sleep(0.005)


# -- segments by hand


def settings(home: Path, **more: Any) -> Settings:
    """Return settings of a handler that starts no thread."""
    return Settings(home=home, **{"keeper": "none", **more})


def header(
    writer: str = WRITER,
    subsystem: str = "logs",
    *,
    home: Path = Path("/h"),
    encrypt: Encrypt | None = None,
    **batch: Any,
) -> Header:
    """Return the header of a segment."""
    policy = Policy.of(settings(home, batch=Batch(**batch), encrypt=encrypt), subsystems.get(subsystem))
    return Header(writer, subsystem, "box", 7, "2026-01-02T03:04:05.000000Z", policy.as_json())


def record(seq: int, *, pid: int = 7, at: str = "2026-01-02T03:04:05.000000Z", event: str = "e", **more: Any) -> bytes:
    """Return the JSON of a record."""
    first = {"time": at, "level": "info", "logger": "t", "event": event}
    return json.dumps({**first, **more, "pid": pid, "seq": seq}, separators=(",", ":")).encode()


def lines(first: int, last: int, **more: Any) -> bytes:
    """Return the lines of the records `first` to `last`."""
    return b"".join(line.record(record(seq, **more)) for seq in range(first, last + 1))


def dropped(reason: str, count: int, first: int = 1, last: int = 1) -> bytes:
    """Return a control line that counts dropped records."""
    return line.control(json.dumps({"dropped": {reason: {"count": count, "first": first, "last": last}}}).encode())


def put_segment(
    subsystem_dir: SubsystemDir, content: bytes, *, writer: str = WRITER, number: int = 0, **batch: Any
) -> Path:
    """Make a segment whose writer is dead; return its path."""
    live = put_live(subsystem_dir, content, writer=writer, number=number, **batch)
    live.close()
    return live.path


def put_live(
    subsystem_dir: SubsystemDir, content: bytes, *, writer: str = WRITER, number: int = 0, **batch: Any
) -> Segment:
    """Make a segment whose writer lives, in this process."""
    made = segments.create(subsystem_dir.spool, header(writer, subsystem_dir.name, **batch), number, sync=False)
    os.write(made.descriptor, content)
    made.size += len(content)
    return made


# -- a keeper, step by step


@contextlib.contextmanager
def keeping(home: HomeDir) -> Iterator[lock.KeeperLock]:
    """Hold the keeper's lock."""
    held = lock.take(home)
    assert held is not None
    try:
        yield held
    finally:
        held.release()


def seal_all(sealer: Sealer) -> int:
    """Seal all that waits, as after a flush; return how many batches that made."""
    made = 0
    while True:
        now = time.monotonic()
        cut = sealer.schedule.due_batch(sealer.backlog(now), now, urgent=True)
        before = sealer.sealed
        for _ in sealer.seal(cut, urgent=True) if cut is not None else ():
            pass
        if sealer.sealed is before:
            sealer.delete_consumed()
            return made
        made += 1


def as_original(subsystem_dir: Path) -> None:
    """Let a copied subsystem pass as the original: its head names the new directory and the new file."""
    new_log._sealed_here.clear()
    path = subsystem_dir / "head"
    with contextlib.suppress(FormatError, OSError):
        state = head.load(path)
        if state is not None:
            head.store(path, replace(state, inode=subsystem_dir.stat().st_ino))


def seal_home(path: Path) -> int:
    """Be the keeper of a home once: seal all that waits in each subsystem."""
    home = HomeDir(path)
    with keeping(home) as held:
        return sum(seal_all(Sealer.open(held, subsystem_dir)) for subsystem_dir in home.subsystem_dirs())


# -- programs that log


@contextlib.contextmanager
def logging_to(home: Path, subsystem: str | None = "logs", **more: Any) -> Iterator[logging.Logger]:
    """Make a logger with one handler, which is closed at the end; no thread is started."""
    handler = IPFSHandler(subsystem, home=home, **{"keeper": "none", **more})
    logger = logging.Logger("t", logging.DEBUG)  # belongs to no tree
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        handler.close()
        HomeProcess._all.pop(home, None)


def handler_of(logger: logging.Logger) -> IPFSHandler:
    """Return the handler of `logging_to`."""
    handler = logger.handlers[0]
    assert isinstance(handler, IPFSHandler)
    return handler


def durable(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """Return the records in the segments of a subsystem; assert that every line is whole."""
    found = []
    for path in sorted((home / subsystem / "spool").glob("*.seg"), key=lambda path: int(path.stem[17:])):
        content = path.read_bytes()
        assert content.endswith(b"\n")
        for raw in content.splitlines():
            decoded = line.decode(raw)
            if decoded.kind == line.RECORD:
                found.append(json.loads(decoded.json, parse_constant=_no_constant))
    return found


def _no_constant(name: str) -> object:
    raise AssertionError(f"{name} is no JSON")


def path_meant(what: object, options: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Return the path that a call of `os` is about: of a descriptor, or of a name relative to an open directory."""
    if isinstance(what, int):
        return Path(os.readlink(f"/proc/self/fd/{what}"))
    above = options.get("dir_fd", options.get("src_dir_fd"))
    path = Path(str(what))
    return path if above is None else Path(os.readlink(f"/proc/self/fd/{above}"), path)


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, error: OSError, *, times: int | None = None) -> list[int]:
    """Let a function of `os` fail, `times` times or until the patch is undone; return the list of calls that failed."""
    real, calls = getattr(os, name), list[int]()

    def failing(*args: Any, **options: Any) -> Any:
        if times is not None and len(calls) >= times:
            return real(*args, **options)
        calls.append(1)
        raise error

    monkeypatch.setattr(os, name, failing)
    return calls


def spy(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, note: Callable[..., object]) -> None:
    """Let `note` see the arguments of each call of a function."""
    real = getattr(owner, name)

    def seen(*args: Any, **options: Any) -> Any:
        note(*args)
        return real(*args, **options)

    monkeypatch.setattr(owner, name, seen)


_NO_INTERRUPT = ("try:", "with ", "lock.release()")


def interrupted(call: Callable[[], object], at_line: int, error: type[BaseException]) -> bool:
    """Run a call, raising at the n-th line of the package that it comes to; whether it came to so many lines.

    Not at `try`, at `with` nor at the release of a lock: what CPython has there is a place where no interrupt can come,
    and none is handled.
    """
    left = at_line

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        if event == "line" and not linecache.getline(name, frame.f_lineno).lstrip().startswith(_NO_INTERRUPT):
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise error
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except error:
        pass
    finally:
        sys.settrace(before)
    return left <= 0
