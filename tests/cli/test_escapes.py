"""Whatever a home says, a record, a reason, a host, an address, a damaged file: no verb lets the terminal obey it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.cli import VERBS
from ipfs_log_handlers.home import head, lock, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Aside, Mark, Trouble
from tests.cli.running import run
from tests.reading import homes
from tests.workshop import dropped, header, put_segment

EVIL = "a\x1b[31m\x1b]0;title\x07\x9b2J\u202e\u2066\r\x7f\x00b"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ARGUMENTS = {
    "keys": (["show"], ["new-log", "audit"], ["new-log", EVIL]),
    "ship": (["--timeout", "0.2"], ["--kubo", EVIL], ["--kubo", "memory:" + EVIL]),
    "doctor": ([], ["--kubo", EVIL]),
    "cat": ([], ["--cid", EVIL], [EVIL]),
    "log": ([], [EVIL]),
}


@pytest.fixture
def hostile(home: Path) -> Path:
    """A home in which every text that somebody else can have written tries to be obeyed."""
    homes.make(home, 20, kubo="memory:hostile")
    room = homes.room(home)
    log = Batches(room.current.batches).facts(0).manifest.log
    trouble = Trouble("denied", EVIL, 1.0, 2.0)
    mark = Mark(log=log, address=EVIL, aside=(Aside(0, EVIL),), trouble=trouble, head=EVIL)
    shipped.store(room.current.shipped, "evil", mark)
    shipped.store(room.current.shipped, "own", replace(mark, address="memory:hostile"))
    with homes.Writing(home) as writing:
        writing.handler.handle(homes.record(1, **{EVIL: EVIL, "event": EVIL, "exception": EVIL}))
    put_segment(room, dropped(EVIL, 3) + EVIL.encode() + b"\n")
    other = homes.room(home, "wal")
    made = replace(header(subsystem="wal"), host=EVIL, settings={"stores": [EVIL], "type": EVIL})
    put_segment(other, b"").write_bytes(made.encode())
    (room.quarantine).mkdir()
    (room.quarantine / EVIL.replace("\x00", "").replace("/", "")).touch()
    return home


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_is_obeyed(hostile, verb, form):
    """Each verb, with the options that repeat something, prints no control character but the end of a line."""
    held = lock.take(Home(hostile)) if verb in {"status", "doctor"} else None
    if held is not None:
        Home(hostile).lock.write_text(json.dumps({"host": EVIL, "pid": 7}))
    printed = ""
    try:
        for given in ARGUMENTS.get(verb, ([],)):
            if verb == "keys" and form == "json" and given[0] == "new-log":
                continue  # the one run before has ended the log
            ended = run(verb, *given, "-o", form, home=hostile)
            assert not OBEYED.search(ended.out + ended.err), given
            printed += ended.out + ended.err
    finally:
        if held is not None:
            held.release()
    assert printed


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_damaged_home_is_not_obeyed(hostile, form):
    """Where a head, a batch or a mark is damaged with such text, the errors that quote it are neutral, too."""
    room = homes.room(hostile)
    sealed = head.load(room.current.head)
    assert sealed is not None
    Batches(room.current.batches).file(1).write_bytes(EVIL.encode() * 10)
    room.current.head.write_bytes(EVIL.encode() + b"\n")
    (room.current.shipped / "evil").write_bytes(EVIL.encode())
    for verb in VERBS:
        for given in ARGUMENTS.get(verb, ([],)):
            ended = run(verb, *given, "-o", form, home=hostile)
            assert not OBEYED.search(ended.out + ended.err), (verb, given)


def test_a_home_with_such_a_name(tmp_path):
    """A path with escape sequences is shown, not obeyed, where errors name it."""
    home = tmp_path / EVIL.replace("\x00", "")
    for verb in VERBS:
        ended = run(verb, *ARGUMENTS.get(verb, ([],))[0], home=home)
        assert ended.code == 2
        assert not OBEYED.search(ended.out + ended.err)
    homes.make(home, 3)
    for verb in VERBS:
        ended = run(verb, *ARGUMENTS.get(verb, ([],))[0], "-o", "text", home=home)
        assert not OBEYED.search(ended.out + ended.err), verb


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("value", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5_000, b"[" * 500 + b"]" * 500])
def test_a_line_that_python_cannot_read(home, value, form):
    """A record of another program, nested deeper or with a longer number than Python reads, is printed as it stands."""
    homes.make(home, 1)
    with homes.Writing(home) as writing:
        writer = writing.handler._recorder.home.writer(subsystems.get("audit"), writing.handler._recorder._settings)
        writer.append(b'{"time":"t","level":"info","logger":"l","event":"e","subsystem":1,"a":' + value)
    ended = run("cat", "audit", "-o", form, home=home)
    assert ended.code == 0
    assert value.decode() in ended.out
