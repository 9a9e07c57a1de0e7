"""`ipfs-logs keys issue`, `accept` and `periods`: from the machine of the auditor to that of the program, and shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.home import data_keys, key_shredding
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.cli import Ended, run
from tests.support.encrypted import ALICE, ALICE_KEY, BOB_KEY, SEALED


def issued(directory: Path, *more: str, **environment: Any) -> Ended:
    """Issue the keys of two months."""
    return run("keys", "issue", "audit", "2026-03..2026-04", "--key-dir", str(directory), *more, **environment)


def test_issued_on_one_machine_and_accepted_on_another(home, tmp_path):
    """As JSON or text, through a file; twice is once; the home has only public keys."""
    ended = issued(tmp_path / "auditor", "--recipient", ALICE_KEY)
    assert ended.code == 0
    assert "has the secret of 2 keys" in ended.err
    keys = [(each["kid"], each["recipient"]) for each in ended.objects]
    assert [kid for kid, _ in keys] == ["audit/2026-03", "audit/2026-04"]
    text = issued(tmp_path / "auditor", "-o", "text", IPFS_LOGS_RECIPIENTS=ALICE_KEY).out
    assert text.split() == [part for key in keys for part in key]

    for content, new in ((text, 2), (ended.out, 0)):
        file = tmp_path / "issued"
        file.write_text(content)
        accepted = run("keys", "accept", str(file), home=home)
        assert (0, new) == (accepted.code, len(accepted.objects))
    listed = run("keys", "periods", home=home)
    assert [(each["kid"], each["state"], each["recipient"]) for each in listed.objects] == [
        (kid, "issued", recipient) for kid, recipient in keys
    ]
    assert not list(home.rglob("*.age"))
    assert len(list((tmp_path / "auditor").rglob("*.age"))) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["audit", "2026-04..2026-03", "--recipient", ALICE_KEY], "not a range of periods"),
        (["audit", "march", "--recipient", ALICE_KEY], "not a period"),
        (["AUDIT", "2026", "--recipient", ALICE_KEY], "not the name of a key"),
        (["audit", "2026"], "keys.recipients"),
        (["audit", "2026", "--recipient", "age1x"], "not an age recipient"),
        (["audit", "2026", "--recipient", ALICE], "this is a secret key"),
    ],
)
def test_mistakes_make_no_key(tmp_path, given, message):
    """The message names what is wrong, and shows no secret."""
    ended = run("keys", "issue", *given, "--key-dir", str(tmp_path / "keys"))
    assert ended.code == 2
    assert message in ended.err
    assert ALICE[20:] not in ended.err
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize(
    "content",
    ["audit/2026-03", "audit/2026-03 age1x", f"audit/x {ALICE_KEY}", "{}", "{", f"audit/2026-03 {ALICE}", "a b c"],
)
def test_a_file_that_has_no_keys_is_refused(home, tmp_path, content):
    """The line is named; a secret is not shown, and nothing is stored."""
    file = tmp_path / "issued"
    file.write_text(f"audit/2026-02 {ALICE_KEY}\n{content}\n")
    ended = run("keys", "accept", str(file), "--home", str(home))
    assert ended.code == 2
    assert "line 2" in ended.err
    assert ALICE[20:] not in ended.err
    assert not home.exists()


def test_each_state_is_shown(home):
    """Who can open a key; one that is damaged, or whose destruction did not end, is told on stderr: exit code 2."""
    home.mkdir(mode=0o700)
    assert run("keys", "periods", home=home).code == 1
    place = HomeDir(home)
    encrypt = Encrypt(recipients=(ALICE_KEY, BOB_KEY))
    kids = [data_keys.key_for(place, name, encrypt, SEALED).kid for name in ("audit", "logs", "wal")]
    text = run("keys", "periods", "-o", "text", "wal", home=home)
    assert (0, 3) == (text.code, len(text.out.splitlines()))
    assert f"can be opened by {BOB_KEY}" in text.out

    key_shredding.begin_shred(place, kids[0], {"reason": "asked for"})
    (place.keys / "periods" / "logs" / "2026-03.age").unlink()
    ended = run("keys", "periods", home=home)
    assert ended.code == 2
    assert [("shredding", False), ("issued", True), ("present", False)] == [
        (each["state"], each["damage"] is not None) for each in ended.objects
    ]
    told = run("keys", "periods", "-o", "text", home=home)
    assert "the destruction of audit/2026-03 did not end" in told.err
    assert "logs/2026-03 is not used" in told.err
