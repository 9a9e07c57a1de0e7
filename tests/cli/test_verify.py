"""`ipfs-logs verify`: one line or object for each log, and the exit code."""

from __future__ import annotations

from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run

VERIFY = {
    "subsystem", "log", "ok", "result", "batches", "records", "tree_size", "tree_root", "absent", "pruned",
    "quarantined", "gaps", "set_back", "unchecked", "encrypted", "erased", "trust", "remembered", "first_seen",
    "evidence", "problems",
}  # fmt: skip


def test_each_log_is_one_object_with_the_promised_keys(two):
    """One object a log, with the promised keys; exit code 0 when all are ok."""
    ended = run("verify", home=two)
    assert (ended.code, ended.err) == (0, "")
    assert [(each["subsystem"], each["ok"], each["records"]) for each in ended.objects] == [
        ("audit", True, 25), ("wal", True, 3),
    ]  # fmt: skip
    assert all(each.keys() == VERIFY for each in ended.objects)
    assert "audit: ok: 3 batches, 25 records" in run("verify", "-o", "text", home=two).out


def test_a_damaged_log_is_shown_with_its_problems_and_exit_code_3(two):
    """A log that is not ok is told with its problems, and the exit code is 3."""
    sample_homes.damage(two)
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


def test_what_was_damaged_before_sealing_is_counted_and_does_not_fail(home):
    """Damaged bytes of the spool are counted where they were left out; the log is ok without them."""
    sample_homes.log(home, range(3))
    (segment,) = sample_homes.subsystem_dir(home).spool.iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"did 0", b"dXd 0"))
    sample_homes.seal(home)
    ended = run("verify", home=home)
    assert (ended.code, ended.objects[0]["ok"], ended.objects[0]["quarantined"]) == (0, True, 1)
    text = run("verify", "-o", "text", home=home).out
    told = "audit: ok: 1 batch, 2 records; 1 damaged piece was left out before sealing (quarantine/): ipfs-logs/"
    assert text.startswith(told)
    assert run("cat", home=home).code == 0


def test_a_given_key_replaces_that_of_the_home(two, tmp_path):
    """`--key` replaces the home's own key; a text that is no key is a usage error."""
    own = keys.load(HomeDir(two))
    sample_homes.make(tmp_path / "other", 1)
    other = keys.load(HomeDir(tmp_path / "other"))
    assert own is not None
    assert other is not None
    assert run("verify", "--key", own.verifier.text, home=two).code == 0
    assert run("verify", "--key", other.verifier.text, home=two).code == 3
    assert run("verify", "--key", "junk", home=two).code == 2
