"""Whatever a home says, a record, a reason, a host, an address, a damaged file: no verb lets the terminal obey it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.cli import VERBS
from ipfs_log_handlers.home import delivery_state, head, lock
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import Aside, DeliveryState, LastError
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.logging_home import dropped, header, put_segment

EVIL = "a\x1b[31m\x1b]0;title\x07\x9b2J\u202e\u2066\r\x7f\x00b"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
ARGUMENTS = {
    "keys": (["show"], ["new-log", "audit"], ["new-log", EVIL]),
    "hold": (["list"], ["set", "audit", "--reason", EVIL], ["set", EVIL, "--reason", "a"], ["release", "audit", EVIL]),
    "retention": (["plan", "--keep", "0d"], ["plan", "--keep", EVIL], ["plan", EVIL], ["apply", "--reason", EVIL]),
    "ship": (["--timeout", "0.2"], ["--kubo", EVIL], ["--kubo", "memory:" + EVIL]),
    "import": ([__file__],),
    "mirror": ([__file__], [EVIL], [EVIL, "--gateway", EVIL]),
    "snapshot": ([], ["--kubo", EVIL], [EVIL]),
    "mcp": (
        ["--source", EVIL],
        ["--redact", f"@{EVIL}"],
        ["--http", "--address", EVIL],
        *(["--http", "--token", f"{kind}{EVIL}"] for kind in ("", "env:", "file:")),
    ),
    "doctor": ([], ["--kubo", EVIL]),
    "cat": ([], ["--cid", EVIL], [EVIL]),
    "versions": ([], [EVIL]),
    "query": ([], ["-w", EVIL], ["-o", "csv"], ["--fields", EVIL], [EVIL]),
    "hist": ([], ["--by", EVIL]),
    "top": (["event"], [EVIL]),
    "sql": (["FROM logs_all"], ["FROM logs_all", "-o", "csv"], [EVIL], [f'SELECT 1 AS "{EVIL}"']),
    "show": (["audit", "0"], ["audit", "1/3"], [EVIL], ["audit", EVIL]),
    "prove": (
        ["audit", "absent/" + EVIL.replace("\x00", ""), "--seq", "1"],
        ["audit", "--seq", "9999"],
        [EVIL],
        [EVIL, "--seq", "1"],
        ["audit", EVIL.replace("\x00", ""), "--key", EVIL],
    ),
    "check": ([EVIL.replace("\x00", ""), "--key", EVIL], [__file__, "--key", EVIL], [__file__, "--key", __file__]),
    "export": (["absent/" + EVIL.replace("\x00", "") + ".csv"],),
}
ENDING = [verb for verb in VERBS if verb not in ("tail", "serve", "completion")]
"""The verbs that look at a home and end by themselves."""


@pytest.fixture
def hostile(home: Path) -> Path:
    """Make a home in which every text that another person can have written has control characters."""
    sample_homes.make(home, 20, kubo="memory:hostile")
    subsystem_dir = sample_homes.subsystem_dir(home)
    log = Batches(subsystem_dir.current.batches).facts(0).manifest.log
    trouble = LastError("denied", EVIL, 1.0, 2.0)
    mark = DeliveryState(log=log, address=EVIL, aside=(Aside(0, EVIL),), last_error=trouble, head=EVIL)
    delivery_state.store(subsystem_dir.current.shipped, "evil", mark)
    delivery_state.store(subsystem_dir.current.shipped, "own", replace(mark, address="memory:hostile"))
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(1, **{EVIL: EVIL, "event": EVIL, "exception": EVIL}))
    put_segment(subsystem_dir, dropped(EVIL, 3) + EVIL.encode() + b"\n")
    other = sample_homes.subsystem_dir(home, "wal")
    made = replace(header(subsystem="wal"), host=EVIL, settings={"stores": [EVIL], "type": EVIL})
    put_segment(other, b"").write_bytes(made.encode())
    (subsystem_dir.quarantine).mkdir()
    (subsystem_dir.quarantine / EVIL.replace("\x00", "").replace("/", "")).touch()
    return home


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("verb", ENDING)
def test_no_verb_prints_a_control_character_of_a_hostile_home(hostile, verb, form):
    """Each verb, with the options that repeat something, prints no control character but the end of a line."""
    held = lock.take(HomeDir(hostile)) if verb in {"status", "doctor"} else None
    if held is not None:
        HomeDir(hostile).lock.write_text(json.dumps({"host": EVIL, "pid": 7}))
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


@pytest.mark.slow
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_error_about_damage_prints_a_control_character(hostile, form):
    """Where a head, a batch or a mark is damaged with such text, the errors that quote it are neutral, too."""
    subsystem_dir = sample_homes.subsystem_dir(hostile)
    sealed = head.load(subsystem_dir.current.head)
    assert sealed is not None
    Batches(subsystem_dir.current.batches).file(1).write_bytes(EVIL.encode() * 10)
    subsystem_dir.current.head.write_bytes(EVIL.encode() + b"\n")
    (subsystem_dir.current.shipped / "evil").write_bytes(EVIL.encode())
    for verb in ENDING:
        for given in ARGUMENTS.get(verb, ([],)):
            ended = run(verb, *given, "-o", form, home=hostile)
            assert not OBEYED.search(ended.out + ended.err), (verb, given)


def test_no_error_prints_a_control_character_of_a_path(tmp_path):
    """A path with escape sequences is shown, not obeyed, where errors name it."""
    home = tmp_path / EVIL.replace("\x00", "")
    for verb in ENDING:
        ended = run(verb, *ARGUMENTS.get(verb, ([],))[0], home=home)
        assert ended.code == 2
        assert not OBEYED.search(ended.out + ended.err)
    sample_homes.make(home, 3)
    for verb in ENDING:
        ended = run(verb, *ARGUMENTS.get(verb, ([],))[0], "-o", "text", home=home)
        assert not OBEYED.search(ended.out + ended.err), verb


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("value", [b"[" * 100_000 + b"]" * 100_000, b"9" * 5_000, b"[" * 500 + b"]" * 500])
def test_a_line_that_python_cannot_read_is_printed_as_it_is(home, value, form):
    """A record of another program, nested deeper or with a longer number than Python reads, is printed as it stands."""
    sample_homes.make(home, 1)
    with sample_homes.Writing(home) as writing:
        writer = writing.handler._recorder.home.writer(subsystems.get("audit"), writing.handler._recorder._settings)
        writer.append(b'{"time":"t","level":"info","logger":"l","event":"e","subsystem":1,"a":' + value)
    ended = run("cat", "audit", "-o", form, home=home)
    assert ended.code == 0
    assert value.decode() in ended.out
