"""What tests of a home work with: segments made by hand, a keeper that runs step by step, what a spool holds."""

from __future__ import annotations

import contextlib
import json
import linecache
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler, subsystems
from ipfs_log_handlers.config import Batch, Settings
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import disk, lock, segments
from ipfs_log_handlers.home.layout import Home, Room
from ipfs_log_handlers.home.segments import Header, Segment
from ipfs_log_handlers.home.settings import Policy
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.process import HomeProcess

WRITER = "00112233445566aa"
OTHER = "ffeeddccbbaa9988"
PACKAGE = str(Path(disk.__file__).parent.parent)


def wait_until(holds: Callable[[], object], *, deadline_s: float = 20.0) -> None:
    """Return as soon as a condition holds; fail when it does not in time."""
    until = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < until, "what was waited for did not happen"
        time.sleep(0.005)


# -- segments by hand


def settings(home: Path, **more: Any) -> Settings:
    """Settings of a handler that starts no thread."""
    return Settings(home=home, **{"keeper": "none", **more})


def header(writer: str = WRITER, subsystem: str = "logs", *, home: Path = Path("/h"), **batch: Any) -> Header:
    """The header of a segment."""
    policy = Policy.of(settings(home, batch=Batch(**batch)), subsystems.get(subsystem))
    return Header(writer, subsystem, "box", 7, "2026-01-02T03:04:05.000000Z", policy.as_json())


def record(seq: int, *, pid: int = 7, at: str = "2026-01-02T03:04:05.000000Z", event: str = "e", **more: Any) -> bytes:
    """The JSON of a record."""
    first = {"time": at, "level": "info", "logger": "t", "event": event}
    return json.dumps({**first, **more, "pid": pid, "seq": seq}, separators=(",", ":")).encode()


def lines(first: int, last: int, **more: Any) -> bytes:
    """The lines of records `first` to `last`."""
    return b"".join(line.record(record(seq, **more)) for seq in range(first, last + 1))


def dropped(reason: str, count: int, first: int = 1, last: int = 1) -> bytes:
    """A control line."""
    return line.control(json.dumps({"dropped": {reason: {"count": count, "first": first, "last": last}}}).encode())


def put_segment(room: Room, content: bytes, *, writer: str = WRITER, number: int = 0, **batch: Any) -> Path:
    """A segment that nobody writes to any more."""
    live = put_live(room, content, writer=writer, number=number, **batch)
    live.close()
    return live.path


def put_live(room: Room, content: bytes, *, writer: str = WRITER, number: int = 0, **batch: Any) -> Segment:
    """A segment whose writer lives, in this process."""
    made = segments.create(room.spool, header(writer, room.name, **batch), number, sync=False)
    os.write(made.descriptor, content)
    made.size += len(content)
    return made


# -- a keeper, step by step


@contextlib.contextmanager
def keeping(home: Home) -> Iterator[lock.KeeperLock]:
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
        cut = sealer.cut(sealer.survey(now), now, asked=True, hasty=True)
        before = sealer.sealed
        for _ in sealer.seal(cut, hasty=True) if cut is not None else ():
            pass
        if sealer.sealed is before:
            sealer.retire()
            return made
        made += 1


def seal_home(path: Path) -> int:
    """Be the keeper of a home once: seal all that waits in each subsystem."""
    home = Home(path)
    with keeping(home) as held:
        return sum(seal_all(Sealer(held, room)) for room in home.rooms())


# -- programs that log


@contextlib.contextmanager
def logging_to(home: Path, subsystem: str | None = "logs", **more: Any) -> Iterator[logging.Logger]:
    """A logger of its own with one handler, closed at the end; no thread is started."""
    handler = IPFSHandler(subsystem, home=home, **{"keeper": "none", **more})
    logger = logging.Logger("t", logging.DEBUG)  # belongs to no tree
    logger.addHandler(handler)
    try:
        yield logger
    finally:
        handler.close()
        HomeProcess._all.pop(home, None)


def handler_of(logger: logging.Logger) -> IPFSHandler:
    """The handler of `logging_to`."""
    handler = logger.handlers[0]
    assert isinstance(handler, IPFSHandler)
    return handler


def durable(home: Path, subsystem: str = "logs") -> list[dict[str, Any]]:
    """The records in the segments of a subsystem, read strictly; every line must be whole."""
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


def interrupted(call: Callable[[], object], at_line: int, error: type[BaseException]) -> bool:
    """Run a call, raising at the n-th line of the package that it comes to; whether it came to so many lines.

    Not at `try` nor at `with`: what CPython has there is a place where no interrupt can come, and none is handled.
    """
    left = at_line

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal left
        name = frame.f_code.co_filename
        if not name.startswith(PACKAGE):
            return None
        if event == "line" and not linecache.getline(name, frame.f_lineno).lstrip().startswith(("try:", "with ")):
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
