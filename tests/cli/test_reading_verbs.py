"""ls, cat, verify and status: what they print, and how they exit."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers.cli.output import age, neutral, safe_json, size
from ipfs_log_handlers.home import keys, lock, shipped
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import Home
from ipfs_log_handlers.home.shipped import Mark, Trouble
from tests.cli.running import command, on_terminal, run, start
from tests.programs import environment
from tests.reading import homes

LS = {
    "subsystem", "log", "index", "cid", "payload", "records", "first", "last", "raw", "size", "encoding", "sealed",
    "state", "meta",
}  # fmt: skip
VERIFY = {
    "subsystem", "log", "ok", "batches", "records", "tree_size", "tree_root", "absent", "quarantined", "problems",
}  # fmt: skip
NASTY = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eoverride\nnext\x7f\u2028 "


@pytest.fixture
def two(home: Path) -> Path:
    """A home with two subsystems."""
    homes.make(home, 25)
    homes.make(home, 3, "wal")
    return home


def damage(home: Path, index: int = 1) -> None:
    """Flip the last byte of a batch."""
    path = Batches(homes.room(home).current.batches).file(index)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")


# -- ls


def test_ls_lists_each_batch(two):
    """One object a batch, oldest first, with the promised keys."""
    ended = run("ls", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["index"], each["records"]) for each in ended.objects] == [
        ("audit", 0, 10), ("audit", 1, 10), ("audit", 2, 5), ("wal", 0, 3),
    ]  # fmt: skip
    assert all(each.keys() == LS and each["state"] == "sealed" for each in ended.objects)
    facts = Batches(homes.room(two).current.batches).facts(1)
    assert ended.objects[1]["cid"] == facts.cid.text
    assert ended.objects[1]["payload"] == facts.manifest.payload.text


def test_ls_knows_what_is_shipped(two):
    """A batch that enough stores have confirmed is `shipped`."""
    log = run("ls", "audit", home=two).objects[0]["log"]
    shipped.store(homes.room(two).current.shipped, "x", Mark(log=log, address="memory:x", upto=1))
    assert [each["state"] for each in run("ls", "audit", home=two).objects] == ["shipped", "shipped", "sealed"]


def test_ls_as_text_is_aligned(two):
    """Text is one line a batch, in columns."""
    lines = run("-o", "text", "ls", home=two).out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("SUBSYSTEM  BATCH  SEALED")
    assert len({line.index("bafy") for line in lines[1:]}) == 1


def test_ls_of_damage_goes_on(two):
    """A batch that cannot be read is told, the others are listed, and the exit code is 5."""
    Batches(homes.room(two).current.batches).file(1).write_bytes(b"junk")
    ended = run("ls", "audit", home=two)
    assert ended.code == 5
    assert [each["index"] for each in ended.objects] == [0, 2]
    assert ended.err.count("ipfs-logs: error:") == len(ended.err.splitlines()) == 1


# -- cat


def test_cat_prints_each_record(two):
    """One object a record: as it was logged, and its subsystem."""
    homes.log(two, range(25, 28))
    ended = run("cat", "audit", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [each["number"] for each in ended.objects] == list(range(28))
    assert {each["subsystem"] for each in ended.objects} == {"audit"}
    assert [each["number"] for each in run("cat", "audit", "--sealed", home=two).objects] == list(range(25))
    assert {each["subsystem"] for each in run("cat", home=two).objects} == {"audit", "wal"}


def test_cat_one_batch(two):
    """`--cid` takes the CID of a manifest or payload, in any form a user has it."""
    batch = run("ls", "audit", home=two).objects[1]
    for form in (batch["cid"], batch["payload"], "/ipfs/" + batch["cid"], "ipfs://" + batch["payload"] + "/"):
        ended = run("cat", "--cid", form, home=two)
        assert [each["number"] for each in ended.objects] == list(range(10, 20))
    other = batch["cid"][:-3] + "aaa"
    unknown = run("cat", "--cid", other, home=two)
    assert (unknown.code, unknown.err) == (1, f"ipfs-logs: error: no batch in {two} has the CID {other}\n")
    both = run("cat", "audit", "--cid", batch["cid"], home=two)
    assert (both.code, both.out) == (2, "")
    assert "SUBSYSTEM does not go with --cid" in both.err
    assert run("cat", "--cid", "nonsense", home=two).code == 2


def test_cat_as_text(home):
    """Text is time, level, logger, event, fields; exception and stack stand indented below."""
    with homes.Writing(home) as writing:
        try:
            raise KeyError("lost")
        except KeyError as error:
            exc_info = (type(error), error, error.__traceback__)
        made = homes.record(1, path="/a b", kind="x", nested={"a": [1, None]})
        made.exc_info = exc_info
        writing.handler.handle(made)
    lines = run("cat", "-o", "text", home=home).out.splitlines()
    time, rest = lines[0].split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'warning  app.1 did 1 number=1 path="/a b" kind=x nested={"a":[1,null]}'
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    KeyError: 'lost'"


@pytest.mark.parametrize("output", ["text", "json"])
def test_escapes_do_nothing(home, output):
    """No control character of a record reaches the terminal, and in JSON nothing of the text is lost."""
    with homes.Writing(home) as writing:
        writing.handler.handle(homes.record(1, **{NASTY: NASTY, "event": NASTY, "plain": NASTY}))
    ended = run("cat", "-o", output, home=home)
    assert not set(ended.out) & set("\x1b\x07\x9b\u202e\x7f\u2028\r")
    assert len(ended.out.splitlines()) == 1
    if output == "json":
        (found,) = ended.objects
        assert found["plain"] == found[NASTY] == found["event"] == NASTY


def test_terminal_gets_text(home):
    """On a terminal the default is text; the only escape sequences in it are our own colours."""
    with homes.Writing(home) as writing:
        writing.handler.handle(homes.record(1, evil=NASTY))
    shown = on_terminal("--home", home, "cat")
    assert not shown.startswith(b"{")
    assert b"\x1b[31mred" not in shown
    assert b"\\u001b[31mred" in shown
    assert b"did 1" in shown


def test_cat_of_damage_goes_on(two):
    """A damaged batch is told, nothing of it is printed, those behind it are, and the exit code is 3."""
    damage(two)
    ended = run("cat", "audit", home=two)
    assert ended.code == 3
    assert [each["number"] for each in ended.objects] == [*range(10), *range(20, 25)]
    assert "audit batch 1 is damaged" in ended.err


def test_cat_of_damage_in_the_spool(home):
    """Bytes of the spool that are no line are told with their place, the rest is printed, and the exit code is 3."""
    homes.log(home, range(3))
    (segment,) = homes.room(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 0", b"dXd 0"))
    ended = run("cat", "audit", home=home)
    assert ended.code == 3
    assert [each["number"] for each in ended.objects] == [1, 2]
    (told,) = ended.err.splitlines()
    assert told.startswith("ipfs-logs: error: audit: ")
    assert told.endswith(f" of segment {segment.stem} are damaged and left out; `ipfs-logs doctor` tells more")
    assert any(each["check"] == "audit segment" for each in run("doctor", home=home).objects)


def test_cat_of_a_gap_is_partial(two):
    """A payload that has left the home, and that no store gives, is told, and the exit code is 5."""
    homes.strip(two, 0)
    ended = run("cat", "audit", home=two)
    assert ended.code == 5
    assert [each["number"] for each in ended.objects] == list(range(10, 25))
    assert "audit batch 0 is absent" in ended.err


def test_closed_pipe_is_silent(home):
    """`ipfs-logs cat | head -1` ends at once and without a word."""
    homes.make(home, 3000)
    with start("--home", home, "cat") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_full_disk_is_one_line(home):
    """Output that cannot be written is an error of one line."""
    homes.make(home, 3000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("--home", home, "cat"), stdout=full, stderr=subprocess.PIPE, env=environment(), text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("ipfs-logs: error: ")
    assert len(done.stderr.splitlines()) == 1


# -- verify


def test_verify_prints_each_log(two):
    """One object a log, with the promised keys; exit code 0 when all are ok."""
    ended = run("verify", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["ok"], each["records"]) for each in ended.objects] == [
        ("audit", True, 25), ("wal", True, 3),
    ]  # fmt: skip
    assert all(each.keys() == VERIFY for each in ended.objects)
    assert "audit: ok: 3 batches, 25 records" in run("verify", "-o", "text", home=two).out


def test_verify_of_damage(two):
    """A log that is not ok is told with its problems, and the exit code is 3."""
    damage(two)
    ended = run("verify", home=two)
    assert ended.code == 3
    first, second = ended.objects
    assert (first["ok"], second["ok"]) == (False, True)
    assert all(each.keys() == {"batch", "field", "expected", "found"} for each in first["problems"])
    assert {each["batch"] for each in first["problems"]} == {1}
    text = run("verify", "-o", "text", "audit", home=two)
    assert text.code == 3
    assert "audit: NOT OK" in text.out
    assert "  batch 1: " in text.out


def test_verify_tells_what_was_damaged_before_it_was_sealed(home):
    """Damaged bytes of the spool are counted where they were left out; the log is ok without them."""
    homes.log(home, range(3))
    (segment,) = homes.room(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 0", b"dXd 0"))
    homes.seal(home)
    ended = run("verify", home=home)
    assert (ended.code, ended.objects[0]["ok"], ended.objects[0]["quarantined"]) == (0, True, 1)
    text = run("verify", "-o", "text", home=home).out
    told = "audit: ok: 1 batch, 2 records; 1 damaged piece was left out before sealing (quarantine/): ipfs-logs/"
    assert text.startswith(told)
    assert run("cat", home=home).code == 0


def test_verify_with_a_key(two, tmp_path):
    """`--key` replaces the home's own key; a text that is no key is a usage error."""
    own = keys.load(Home(two))
    homes.make(tmp_path / "other", 1)
    other = keys.load(Home(tmp_path / "other"))
    assert own is not None
    assert other is not None
    assert run("verify", "--key", own.verifier.text, home=two).code == 0
    assert run("verify", "--key", other.verifier.text, home=two).code == 3
    assert run("verify", "--key", "junk", home=two).code == 2


# -- status


def test_status_prints_each_subsystem(two):
    """One object a subsystem; as text, columns and who keeps the home."""
    found = run("status", home=two)
    assert found.code == 0
    assert [(each["subsystem"], each["durable"], each["sealed"]) for each in found.objects] == [
        ("audit", 25, 25), ("wal", 3, 3),
    ]  # fmt: skip
    text = run("status", "-o", "text", home=two).out
    assert text.splitlines()[0].split()[:4] == ["SUBSYSTEM", "DURABLE", "SEALED", "SHIPPED"]
    assert "keeper: none is running" in text


def test_status_tells_trouble_once(two):
    """Subsystems with the same trouble at the same store share a line; the next try is a time to come, or an event."""
    told = "http://127.0.0.1:9: nobody listens there (connection refused)"
    assert run("ship", "--kubo", "http://127.0.0.1:9", "--timeout", "0", home=two).code == 4
    *_, keeper, line = run("status", "-o", "text", home=two).out.splitlines()
    assert keeper == "keeper: none is running"
    assert line == f"audit, wal: {told}; tried again at the next `ipfs-logs ship`, or start of the program"

    for at, shown in ((0.0, "tried again just now"), (4_000_000_000.5, "next try 2096-10-02T07:06:40Z")):
        for name in ("audit", "wal"):
            trouble = Trouble("refused", told, 0.0, at)
            marks = homes.room(two, name).current.shipped
            for store, mark in shipped.load_all(marks).items():
                shipped.store(marks, store, replace(mark, trouble=trouble))
        held = lock.take(Home(two))
        assert held is not None
        try:
            line = run("status", "-o", "text", home=two).out.splitlines()[-1]
        finally:
            held.release()
        assert line == f"audit, wal: {told}; {shown}"


# -- what all verbs share


@pytest.mark.parametrize("output", ["text", "json"])
@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("ls", "nothing is logged in {} yet"),
        ("cat", "nothing is logged in {} yet"),
        ("status", "nothing is logged in {} yet"),
        ("log", "nothing was archived in {}"),
        ("verify", "no batch in {} yet: nothing to verify"),
    ],
)
def test_nothing_there(home, verb, told, output):
    """Of a home without a record nothing is printed but a remark on stderr, and the exit code is 1."""
    home.mkdir(mode=0o700)
    ended = run(verb, "-o", output, home=home)
    assert (ended.code, ended.out, ended.err) == (1, "", f"ipfs-logs: {told.format(home)}\n")
    assert ended == run("--home", home, "-o", output, verb)


def test_nothing_sealed_yet(home):
    """Where records wait and no batch is sealed, it is said where they are seen."""
    homes.log(home, range(3))
    for args, told in (
        (["ls"], f"no batch of audit in {home} yet: `ipfs-logs cat` shows the records that wait"),
        (["verify"], f"no batch in {home} yet: nothing to verify"),
        (["cat", "--sealed"], f"no record of audit in {home} is in a batch yet: leave out --sealed to see what waits"),
    ):
        ended = run(*args, home=home)
        assert (ended.code, ended.out, ended.err) == (1, "", f"ipfs-logs: {told}\n")
    (segment,) = homes.room(home).spool.iterdir()
    segment.unlink()
    (home / "keeper.lock").touch(mode=0o600)
    assert run("cat", "audit", home=home).err == f"ipfs-logs: no record of audit in {home} yet\n"


@pytest.mark.parametrize("verb", ["ls", "cat", "verify", "status"])
def test_unknown_subsystem(two, verb):
    """A subsystem that the home does not have is a usage error that names those it has."""
    ended = run(verb, "audits", home=two)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("ipfs-logs: error: ")
    assert "'audits'" in ended.err
    assert "audit, wal" in ended.err


@pytest.mark.parametrize("args", [["nonsense"], ["ls", "--nonsense"], ["ls", "-o", "xml"], ["ship", "--timeout", "x"]])
def test_wrong_usage(two, args):
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
        ("nonsense", "no verb 'nonsense'; there are: status, ls, cat, log, verify, archive, ship, doctor, keys"),
        ("a\x1bb\nc", "no verb 'a\\x1bb\\nc'; there are: status, ls, cat, log, verify, archive, ship, doctor, keys"),
    ],
)
def test_verb_that_is_not_there(home, verb, told):
    """A verb that is not there is told with the one that may be meant, else with all there are."""
    ended = run(verb, home=home)
    assert (ended.code, ended.out, ended.err) == (2, "", f"ipfs-logs: error: {told}\n")


def test_home_may_stand_behind_the_verb(two):
    """`--home` and `-o` are taken before the verb and behind it, and the one behind wins."""
    before = run("--home", two, "-o", "json", "ls")
    assert run("ls", "--home", two, "-o", "json") == before
    assert run("--home", "/nowhere", "-o", "text", "ls", "--home", two, "-o", "json") == before


def test_home_from_the_environment(two):
    """`IPFS_LOGS_HOME` names the home where no option does."""
    assert run("ls", IPFS_LOGS_HOME=str(two)) == run("ls", home=two)
    ended = run("ls", IPFS_LOGS_HOME=str(two / "nothing"))
    assert ended.code == 2
    assert "there is no home" in ended.err


def test_only_home_is_found(two, tmp_path, monkeypatch):
    """Without a name the only home there is is taken; where there are several, they are listed."""
    monkeypatch.delenv("IPFS_LOGS_HOME", raising=False)
    state = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setattr("ipfs_log_handlers.cli.common.homes_directory", lambda: state / "ipfs-logs")
    assert run("ls").code == 2
    homes.make(state / "ipfs-logs" / "one", 3)
    assert len(run("ls").objects) == 1
    homes.make(state / "ipfs-logs" / "two", 3)
    ended = run("ls")
    assert ended.code == 2
    assert "/one" in ended.err
    assert "/two" in ended.err


def test_interrupt_is_130(home, monkeypatch):
    """Ctrl-C ends a verb without a traceback, with exit code 130."""
    homes.make(home, 3)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ipfs_log_handlers.cli.ls._batches", interrupted)
    ended = run("ls", home=home)
    assert ended.code == 130
    assert "Traceback" not in ended.err


def test_text_helpers():
    """Sizes and spans have the unit that fits; control characters are shown."""
    assert [size(number) for number in (0, 1023, 1536, 200 << 10, 5 << 30, 3 << 40)] == [
        "0 B", "1023 B", "1.5 KiB", "200 KiB", "5.0 GiB", "3.0 TiB",
    ]  # fmt: skip
    assert [age(seconds) for seconds in (None, 3, 600, 7200, 500_000)] == ["-", "3 s", "10 min", "2 h", "6 d"]
    assert neutral("a\x1b\tb\u202e") == "a\\x1b\\tb\\u202e"
    line = json.dumps({"a": NASTY}, ensure_ascii=False).encode()
    assert json.loads(safe_json(line)) == {"a": NASTY}
