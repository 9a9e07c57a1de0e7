"""What goes wrong is one line with a next step: refused files, unknown options, an empty home, Ctrl-C."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ipfs_log_handlers.api import Home
from ipfs_log_handlers.cli import VERBS
from ipfs_log_handlers.home import volume
from tests.support import sample_homes
from tests.support.cli import command, run, start
from tests.support.logging_home import wait_until
from tests.support.terminal import Terminal


def refusing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """Let the system refuse to open files of a name."""
    real = os.open

    def opened(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith(name):
            raise OSError(number, os.strerror(number), path)
        return real(path, *args, **options)

    monkeypatch.setattr(os, "open", opened)


@pytest.mark.parametrize(
    ("verb", "name", "number", "hint"),
    [
        ("ship", "keeper.lock", errno.EROFS, "Make it writable"),
        ("ship --follow", "keeper.lock", errno.EROFS, "Make it writable"),
        ("keys new-log audit", "keeper.lock", errno.EACCES, "permission denied"),
        ("keys show", "writer.key", errno.EACCES, "permission denied"),
    ],
)
def test_a_refused_file_is_one_line_with_a_next_step(home, monkeypatch, verb, name, number, hint):
    """No `[Errno 13]`, no traceback: the file, the reason, and what to do."""
    sample_homes.make(home, 3)
    refusing(monkeypatch, name, number)
    ended = run(*verb.split(), home=home)
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (2, "", 1)
    assert name in ended.err
    assert hint in ended.err
    assert "Errno" not in ended.err


def test_doctor_goes_on_after_a_file_that_it_may_not_read(home, monkeypatch):
    """Each refused check fails in words, and every other check is made."""
    sample_homes.make(home, 3)
    refusing(monkeypatch, "writer.key", errno.EACCES)
    refusing(monkeypatch, "keeper.lock", errno.EACCES)
    ended = run("doctor", home=home)
    checks = {check["check"]: check for check in ended.objects}
    assert ended.code == 2
    assert {"home", "mount", "key", "space", "keeper", "store"} <= checks.keys()
    assert [checks[name]["state"] for name in ("key", "keeper", "space", "store")] == ["fail", "fail", "ok", "ok"]
    assert "permission denied" in checks["key"]["found"]
    assert "Errno" not in ended.out


def test_doctor_of_a_read_only_home(home, monkeypatch):
    """Nothing can be logged there: that is a failure."""
    sample_homes.make(home, 1)
    real = os.statvfs(home)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:8], os.ST_RDONLY, real[9])))
    (mount,) = [check for check in run("doctor", home=home).objects if check["check"] == "mount"]
    assert (mount["state"], mount["found"].partition(":")[0]) == ("fail", "a read-only file system")


def test_doctor_of_a_disk_without_inodes(home, monkeypatch):
    """Free bytes are no use where no file can be made."""
    sample_homes.make(home, 1)
    real = os.statvfs(home)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:5], 1000, 0, 0, *real[8:])))
    monkeypatch.setattr(volume, "free_bytes", lambda _: 1 << 40)
    (space,) = [check for check in run("doctor", home=home).objects if check["check"] == "space"]
    assert (space["state"], "no inode left" in space["found"]) == ("fail", True)


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option_is_answered_with_those_that_there_are(home, verb):
    """The nearest option is proposed where one is near, `-o json` for `--json`, and never `--help` for anything."""
    home.mkdir(mode=0o700)
    given = {"keys": ["keys", "show"], "hold": ["hold", "list"], "retention": ["retention", "plan"]}.get(verb, [verb])
    ended = run(*given, "--hepl-me-out", home=home)
    title = " ".join(given)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"ipfs-logs: error: no option '--hepl-me-out' for {title}. The options are: --")
    assert f"no option '--json' for {title}. Did you mean '-o json'?" in run(*given, "--json", home=home).err
    assert "Did you mean '--output'?" in run(*given, "--outptu", "json", home=home).err


def test_the_option_to_follow_leads_to_the_verb_that_follows(home):
    """`cat --follow` and `tail -f` are what users of other programs type."""
    home.mkdir(mode=0o700)
    assert "no option '--follow' for cat. Did you mean 'ipfs-logs tail'?" in run("cat", "--follow", home=home).err
    assert "no option '-f' for tail. `tail` follows without an option." in run("tail", "-f", home=home).err


@pytest.mark.parametrize("verb", ["status", "ls", "cat"])
def test_a_level_that_keeps_everything_out_is_named(home, verb):
    """A home that is there and empty: nothing was logged here yet, and the usual reason."""
    home.mkdir(mode=0o700)
    ended = run(verb, home=home)
    assert ended.code == 1
    assert ended.err.startswith(f"ipfs-logs: nothing was logged here yet: {home}. ")
    assert "until its level is set" in ended.err


def test_a_home_that_is_missing_says_that_nothing_was_logged(home):
    """The first record makes the home."""
    ended = run("status", home=home)
    assert ended.code == 2
    assert ended.err.startswith(f"ipfs-logs: error: nothing was logged here yet: there is no home at {home}. ")
    assert ended.err.endswith("a logger drops INFO and DEBUG until its level is set.\n")


# -- Ctrl-C

METHODS = {
    "status": ("status",),
    "ls": ("batches",),
    "cat": ("dataset",),
    "show": ("batch_at",),
    "query": ("dataset",),
    "tail": ("dataset",),
    "hist": ("dataset",),
    "top": ("dataset",),
    "export": ("dataset",),
    "sql": ("dataset",),
    "versions": ("archives",),
    "verify": ("verify",),
    "prove": ("prove_seq",),
    "archive": ("archive",),
    "doctor": ("health",),
    "hold": ("holds",),
    "retention": ("plan_retention",),
    "keys": ("public_key",),
    "ship": ("ship",),
    "snapshot": ("snapshot",),
    "import": ("import_car",),
    "mirror": ("mirror",),
    "publish": ("publish",),
    "serve": ("dataset",),
    "mcp": ("public_key",),
}
ARGUMENTS = {
    "archive": ["archive", __file__],
    "mirror": ["mirror", __file__],
    "import": ["import", __file__],
    "hold": ["hold", "list"],
    "retention": ["retention", "plan", "--keep", "1d"],
    "keys": ["keys", "show"],
    "top": ["top", "level"],
    "show": ["show", "audit", "0"],
    "export": ["export", "out.csv"],
    "sql": ["sql", "SELECT 1"],
    "prove": ["prove", "audit", "out.proof", "--seq", "1"],
}
SLEEPING = """
import sys, time
from ipfs_log_handlers import api
from ipfs_log_handlers.cli import main
def work(*_, **__):
    print("at work", file=sys.stderr, flush=True)
    for _ in range(600): time.sleep(0.1)  # a signal just before a sleep does not end it
setattr(api.Home, {method!r}, work)
main(prog_name="ipfs-logs")
"""


def test_each_verb_is_interrupted_below():
    """The table has every verb but `completion` and `check`, which look at no home; the methods are those of a home."""
    assert METHODS.keys() == VERBS.keys() - {"completion", "check"}
    assert all(hasattr(Home, method) for methods in METHODS.values() for method in methods)


@pytest.mark.slow
@pytest.mark.parametrize("verb", [verb for verb in METHODS if verb != "ship"])
def test_ctrl_c_is_one_line_and_130(home, verb):
    """Whatever a verb is doing, Ctrl-C ends it with one line and without a traceback."""
    sample_homes.make(home, 3)
    program = [sys.executable, "-c", SLEEPING.format(method=METHODS[verb][0])]
    terminal = Terminal([*program, "--home", str(home), *ARGUMENTS.get(verb, [verb])])
    terminal.read_until(lambda shown: "at work\r\n" in shown)
    terminal.interrupt()
    shown = terminal.end()
    assert (shown.code, shown.screen) == (130, ["at work", "^C", "ipfs-logs: interrupted"])


class Silent:
    """A server that accepts connections and never answers."""

    def __init__(self, server: socket.socket) -> None:
        self.url = f"http://127.0.0.1:{server.getsockname()[1]}"
        self._server = server
        self._asked: list[socket.socket] = []

    def wait_until_asked(self) -> None:
        """Return when a request has begun to arrive: the program has imported what it needs, and waits."""
        self._server.settimeout(30)
        self._asked.append(self._server.accept()[0])
        self._asked[-1].settimeout(30)
        assert self._asked[-1].recv(1)

    def close(self) -> None:
        """Close the connections."""
        for connection in self._asked:
            connection.close()


@pytest.fixture
def silent() -> Iterator[Silent]:
    """Start a server that never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Silent(server)
        yield made
        made.close()


def test_ctrl_c_ends_a_check_of_a_store_that_does_not_answer(home, silent):
    """`doctor` does not wait for the store's time to be over."""
    sample_homes.make(home, 3)
    terminal = Terminal(command("--home", home, "doctor", "--kubo", silent.url))
    terminal.read_until(lambda shown: "waiting records\r\n" in shown)
    silent.wait_until_asked()
    terminal.interrupt()
    shown = terminal.end()
    assert shown.code == 130
    assert shown.screen[-1] == "ipfs-logs: interrupted"
    assert shown.screen[-2] in {"", "^C"}  # the terminal may write it behind the bar, which is erased


def test_ctrl_c_ends_a_shipment_that_hangs(home, silent):
    """`ship` says in one line what is left."""
    sample_homes.make(home, 3)
    terminal = Terminal(command("--home", home, "ship", "--kubo", silent.url))
    terminal.read_until(lambda shown: "shipping" in shown)
    silent.wait_until_asked()
    terminal.interrupt()
    shown = terminal.end()
    assert shown.code == 130
    assert shown.screen[-1] == "ipfs-logs: interrupted: 1 batch not shipped, audit batch 0 first"
    assert {"", "^C"} >= set(shown.screen[:-1])


def test_ctrl_c_ends_follow_well(home, silent):
    """`ship --follow` is ended by a signal: that is no error."""
    sample_homes.make(home, 3)
    with start("--home", home, "ship", "--follow", "--kubo", silent.url) as process:
        wait_until(lambda: sample_homes.status(home)[0]["keeper"] is not None)
        silent.wait_until_asked()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_ctrl_c_ends_output_that_nobody_reads(home):
    """`cat` that stands at a terminal which takes no more ends all the same."""
    sample_homes.make(home, 5000)
    terminal = Terminal(command("--home", home, "cat", "-o", "json"))
    terminal.read_until(lambda shown: '"number":' in shown)
    terminal.interrupt()
    shown = terminal.end()
    assert shown.code == 130
    assert "Traceback" not in shown.output


@pytest.mark.slow
@pytest.mark.parametrize("name", ["writer.key", "head", "batches", "000001.car", "shipped", "spool"])
@pytest.mark.parametrize("verb", ["ship", "verify", "cat", "query", "ls", "status", "doctor"])
def test_no_verb_says_an_error_number_where_a_file_is_refused(home, monkeypatch, verb, name):
    """Also in what it says of one subsystem or one batch while it goes on with the others."""
    sample_homes.make(home, 12)
    sample_homes.log(home, range(12, 14))
    refusing(monkeypatch, name, errno.EACCES)
    ended = run(verb, *(["--timeout", "3"] if verb == "ship" else []), home=home)
    assert "Errno" not in ended.err + ended.out
    assert "Error:" not in ended.err + ended.out
