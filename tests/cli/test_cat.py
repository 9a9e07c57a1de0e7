"""`ipfs-logs cat`: records in log order, each batch verified before it is printed."""

from __future__ import annotations

import subprocess

import pytest

from tests.support import sample_homes
from tests.support.cli import command, on_terminal, run, start
from tests.support.programs import environment

NASTY = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eoverride\nnext\x7f\u2028 "


def test_each_record_is_one_object_with_its_subsystem(two):
    """One object a record: as it was logged, and its subsystem."""
    sample_homes.log(two, range(25, 28))
    ended = run("cat", "audit", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [each["number"] for each in ended.objects] == list(range(28))
    assert {each["subsystem"] for each in ended.objects} == {"audit"}
    assert [each["number"] for each in run("cat", "audit", "--sealed", home=two).objects] == list(range(25))
    assert {each["subsystem"] for each in run("cat", home=two).objects} == {"audit", "wal"}


def test_a_batch_is_named_by_a_cid_in_any_form(two):
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
    assert "SUBSYSTEM cannot be combined with --cid" in both.err
    assert run("cat", "--cid", "nonsense", home=two).code == 2


def test_text_shows_time_level_logger_event_fields_and_traceback(home):
    """Text is time, level, logger, event, fields; exception and stack stand indented below."""
    with sample_homes.Writing(home) as writing:
        try:
            raise KeyError("lost")
        except KeyError as error:
            exc_info = (type(error), error, error.__traceback__)
        made = sample_homes.record(1, path="/a b", kind="x", nested={"a": [1, None]})
        made.exc_info = exc_info
        writing.handler.handle(made)
    lines = run("cat", "-o", "text", home=home).out.splitlines()
    time, rest = lines[0].split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'warning  app.1 did 1 number=1 path="/a b" kind=x nested={"a":[1,null]}'
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-1] == "    KeyError: 'lost'"


@pytest.mark.parametrize("output", ["text", "json"])
def test_no_control_character_of_a_record_is_printed(home, output):
    """No control character of a record reaches the terminal, and in JSON nothing of the text is lost."""
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(1, **{NASTY: NASTY, "event": NASTY, "plain": NASTY}))
    ended = run("cat", "-o", output, home=home)
    assert not set(ended.out) & set("\x1b\x07\x9b\u202e\x7f\u2028\r")
    assert len(ended.out.splitlines()) == 1
    if output == "json":
        (found,) = ended.objects
        assert found["plain"] == found[NASTY] == found["event"] == NASTY


def test_a_terminal_gets_text(home):
    """On a terminal the default is text; the only escape sequences in it are our own colours."""
    with sample_homes.Writing(home) as writing:
        writing.handler.handle(sample_homes.record(1, evil=NASTY))
    shown = on_terminal("--home", home, "cat")
    assert not shown.startswith(b"{")
    assert b"\x1b[31mred" not in shown
    assert b"\\u001b[31mred" in shown
    assert b"did 1" in shown


def test_a_damaged_batch_is_reported_and_output_continues(two):
    """A damaged batch is told, nothing of it is printed, those behind it are, and the exit code is 3."""
    sample_homes.damage(two)
    ended = run("cat", "audit", home=two)
    assert ended.code == 3
    assert [each["number"] for each in ended.objects] == [*range(10), *range(20, 25)]
    assert "audit batch 1 is damaged" in ended.err


def test_damaged_bytes_of_the_spool_are_reported_with_their_place(home):
    """Bytes of the spool that are no line are told with their place, the rest is printed, and the exit code is 3."""
    sample_homes.log(home, range(3))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 0", b"dXd 0"))
    ended = run("cat", "audit", home=home)
    assert ended.code == 3
    assert [each["number"] for each in ended.objects] == [1, 2]
    (told,) = ended.err.splitlines()
    assert told.startswith("ipfs-logs: error: audit: ")
    assert told.endswith(f" of segment {segment.stem} are damaged and left out; `ipfs-logs doctor` says more")
    assert any(each["check"] == "audit segment" for each in run("doctor", home=home).objects)


def test_a_payload_that_no_store_has_is_reported_with_exit_code_5(two):
    """A payload that has left the home, and that no store gives, is told, and the exit code is 5."""
    sample_homes.strip(two, 0)
    ended = run("cat", "audit", home=two)
    assert ended.code == 5
    assert [each["number"] for each in ended.objects] == list(range(10, 25))
    assert "audit batch 0 is absent" in ended.err


def test_a_closed_pipe_ends_it_silently(home):
    """`ipfs-logs cat | head -1` ends at once and without a word."""
    sample_homes.make(home, 3000)
    with start("--home", home, "cat") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(b"{")
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_output_to_a_full_disk_is_one_line_on_stderr(home):
    """Output that cannot be written is an error of one line."""
    sample_homes.make(home, 3000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command("--home", home, "cat"), stdout=full, stderr=subprocess.PIPE, env=environment(), text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("ipfs-logs: error: ")
    assert len(done.stderr.splitlines()) == 1
