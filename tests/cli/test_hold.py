"""`ipfs-logs hold`: what it prints, refuses, and ends with."""

from __future__ import annotations

from functools import partial

from tests.support import sample_homes
from tests.support.cli import run


def test_set_list_and_release(home):
    """Each prints the hold; the JSON keys are a promise."""
    sample_homes.make(home, 10)
    none = run("hold", "list", home=home)
    assert (1, "", "ipfs-logs: no hold stands\n") == (none.code, none.out, none.err)

    given = ["--since", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00Z", "--reason", "case 12", "--by", "ada"]
    ended = run("hold", "set", "audit", *given, home=home)
    (made,) = ended.objects
    assert (0, "") == (ended.code, ended.err)
    assert {
        "subsystem": "audit", "id": made["id"], "since": "2026-01-01T00:00:00.000000Z",
        "until": "2026-02-01T00:00:00.000000Z", "reason": "case 12", "by": "ada", "set": made["set"],
        "log": made["log"], "index": 1,
    } == made  # fmt: skip
    assert [made] == run("hold", "list", home=home).objects == run("hold", "list", "audit", home=home).objects
    (status,) = run("status", home=home).objects
    assert [made] == status["holds"]

    text = run("hold", "list", "-o", "text", home=home).out
    words = f"audit: hold {made['id']}: records since {made['since']} until {made['until']}: case 12\n"
    assert text == f"{words}  set by ada in batch 1 of {made['log']}\n"
    assert words in run("status", "-o", "text", home=home).out + "\n"

    released = run("hold", "release", "audit", made["id"][:4], "--reason", "closed", home=home)
    assert (0, "", "ipfs-logs: no hold of audit stands any more\n") == (released.code, released.out, released.err)
    acts = [batch["meta"].get("act") for batch in run("ls", home=home).objects]
    assert [None, words[len("audit: ") : -1], f"release of hold {made['id']}: closed"] == acts


def test_release_of_one_of_several_needs_its_id(home):
    """Without an id only the only one is released; the error lists those that stand."""
    sample_homes.make(home, 10)
    ids = [run("hold", "set", "audit", "--reason", reason, home=home).objects[0]["id"] for reason in "ab"]
    for given in ([], ["f00"], [""]):
        ended = run("hold", "release", "audit", *given, "--reason", "closed", home=home)
        assert (2, "") == (ended.code, ended.out)
        assert f"expected id or reason of one of: {ids[0]} (a); {ids[1]} (b)" in ended.err
    left = run("hold", "release", "audit", ids[0], "--reason", "closed", home=home)
    assert ([ids[1]], 0) == ([each["id"] for each in left.objects], left.code)
    assert 0 == run("hold", "release", "audit", "--reason", "closed", home=home).code
    assert 2 == run("hold", "release", "audit", "--reason", "closed", home=home).code


def test_what_is_malformed_is_refused_before_anything_is_written(home):
    """Exit code 2, and no act waits."""
    sample_homes.make(home, 10)
    cases = (
        (["audit"], "Missing option '--reason'"),
        (["audit", "--reason", ""], "not the 'reason' of an act"),
        (["audit", "--reason", "a\nb"], "printable text of 1 to 500 characters"),
        (["audit", "--reason", "a", "--since", "someday"], "not a time"),
        (["audit", "--reason", "a", "--since", "2026-02-01", "--until", "2026-01-01"], "ends before it begins"),
        (["wal", "--reason", "a"], "no subsystem 'wal'"),
    )
    for given, told in cases:
        ended = run("hold", "set", *given, home=home)
        assert (2, "") == (ended.code, ended.out), given
        assert told in ended.err
    assert 1 == len(run("ls", home=home).objects)
    assert not sample_homes.subsystem_dir(home).acts.exists()


def test_release_by_what_a_user_knows(home):
    """The reason, a part of it in any case, or the bounds name a hold; where several fit, all are listed."""
    sample_homes.make(home, 5)
    set_hold = partial(run, "hold", "set", "audit", home=home)
    assert 0 == set_hold("--reason", "Case 12", "--since", "2026-01-01").code
    assert 0 == set_hold("--reason", "case 13", "--since", "2026-01-01", "--until", "2026-02-01").code
    assert 0 == set_hold("--reason", "tax audit").code
    release = partial(run, "hold", "release", "audit", "--reason", "closed", home=home)
    for given in ("case", "", "case 14"):
        ended = release(given)
        assert ended.code == 2
        assert all(f"({reason})" in ended.err for reason in ("Case 12", "case 13", "tax audit"))
    assert 2 == release("--since", "2026-01-01").code
    assert 0 == release("--since", "2026-01-01", "--until", "2026-02-01").code
    assert 0 == release("case 12").code
    assert 0 == release("TAX").code
    assert 1 == run("hold", "list", home=home).code
