"""What all verbs share: options before and after the verb, an empty home, wrong usage, Ctrl-C."""

from __future__ import annotations

import pytest

from ipfs_log_handlers.api import LEVEL_HINT
from tests.support import sample_homes
from tests.support.cli import run

KNOWN = (
    "status, ls, show, cat, query, tail, hist, top, sql, export, versions, verify, prove, check, archive, ship, "
    "snapshot, import, mirror, publish, doctor, hold, retention, keys, serve, mcp, completion"
)
"""The verbs, as an error lists them."""


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(
    ("verb", "told"),
    [
        (
            "ls",
            f"nothing was logged here yet: {{}}. {LEVEL_HINT}",
        ),
        (
            "cat",
            f"nothing was logged here yet: {{}}. {LEVEL_HINT}",
        ),
        (
            "status",
            f"nothing was logged here yet: {{}}. {LEVEL_HINT}",
        ),
        ("versions", "nothing was archived in {}"),
        ("verify", "no batch in {} yet: nothing to verify"),
    ],
)
def test_an_empty_home_is_a_remark_and_exit_code_1(home, verb, told, output):
    """Of a home without a record nothing is printed but a remark on stderr, and the exit code is 1."""
    home.mkdir(mode=0o700)
    ended = run(verb, "-o", output, home=home)
    assert (ended.code, ended.out, ended.err) == (1, "", f"ipfs-logs: {told.format(home)}\n")
    assert ended == run("--home", home, "-o", output, verb)


def test_records_that_wait_are_mentioned_where_no_batch_is_sealed(home):
    """Where records wait and no batch is sealed, it is said where they are seen."""
    sample_homes.log(home, range(3))
    for args, told in (
        (["ls"], f"no batch of audit in {home} yet: `ipfs-logs cat` shows the records that wait"),
        (["verify"], f"no batch in {home} yet: nothing to verify"),
        (["cat", "--sealed"], f"no record of audit in {home} is in a batch yet: leave out --sealed to see them"),
    ):
        ended = run(*args, home=home)
        assert (ended.code, ended.out, ended.err) == (1, "", f"ipfs-logs: {told}\n")
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    segment.unlink()
    (home / "keeper.lock").touch(mode=0o600)
    assert run("cat", "audit", home=home).err == f"ipfs-logs: no record of audit in {home} yet\n"


@pytest.mark.parametrize("verb", ["ls", "cat", "verify", "status"])
def test_an_unknown_subsystem_is_answered_with_those_that_there_are(two, verb):
    """A subsystem that the home does not have is a usage error that names those it has."""
    ended = run(verb, "audits", home=two)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ipfs-logs: error: ")
    assert "'audits'" in ended.err
    assert "audit, wal" in ended.err


@pytest.mark.parametrize("args", [["nonsense"], ["ls", "--nonsense"], ["ls", "-o", "xml"], ["ship", "--timeout", "x"]])
def test_wrong_usage_is_one_line_and_exit_code_2(two, args):
    """What the program does not know is one line on stderr, and the exit code is 2."""
    ended = run(*args, home=two)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ipfs-logs: error: ")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("stats", "no verb 'stats'. Did you mean 'status'?"),
        ("shipp", "no verb 'shipp'. Did you mean 'ship'?"),
        ("search", "no verb 'search'. Did you mean 'query'?"),
        ("help", "no verb 'help'. Did you mean '--help'?"),
        ("nonsense", f"no verb 'nonsense'; the verbs are: {KNOWN}"),
        ("a\x1bb\nc", f"no verb 'a\\x1bb\\nc'; the verbs are: {KNOWN}"),
    ],
)
def test_an_unknown_verb_is_answered_with_the_nearest_or_with_all(home, verb, told):
    """A verb that is not there is told with the one that may be meant, else with all there are."""
    ended = run(verb, home=home)
    assert (ended.code, ended.out, ended.err) == (2, "", f"ipfs-logs: error: {told}\n")


def test_home_and_output_are_taken_before_and_after_the_verb(two):
    """`--home` and `-o` are taken before the verb and behind it, and the one behind wins."""
    before = run("--home", two, "-o", "json", "ls")
    assert run("ls", "--home", two, "-o", "json") == before
    assert run("--home", "/nowhere", "-o", "text", "ls", "--home", two, "-o", "json") == before


def test_the_environment_names_the_home_where_no_option_does(two):
    """`IPFS_LOGS_HOME` names the home where no option does."""
    assert run("ls", IPFS_LOGS_HOME=str(two)) == run("ls", home=two)
    ended = run("ls", IPFS_LOGS_HOME=str(two / "nothing"))
    assert ended.code == 2
    assert "there is no home" in ended.err


def test_the_only_home_is_taken_and_several_are_listed(two, tmp_path, monkeypatch):
    """Without a name the only home there is is taken; where there are several, they are listed."""
    monkeypatch.delenv("IPFS_LOGS_HOME", raising=False)
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr("ipfs_log_handlers.home.lookup.homes_directory", lambda: state / "ipfs-logs")
    assert run("ls").code == 2
    sample_homes.make(state / "ipfs-logs" / "one", 3)
    assert len(run("ls").objects) == 1
    sample_homes.make(state / "ipfs-logs" / "two", 3)
    ended = run("ls")
    assert ended.code == 2
    assert "/one" in ended.err
    assert "/two" in ended.err


def test_an_interrupt_inside_a_verb_is_exit_code_130(home, monkeypatch):
    """Ctrl-C ends a verb without a traceback, with exit code 130."""
    sample_homes.make(home, 3)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ipfs_log_handlers.monitoring.batches.logs_of", interrupted)
    ended = run("ls", home=home)
    assert ended.code == 130
    assert "Traceback" not in ended.err
