"""`ipfs-logs keys rotate`, `export`, `import` and `same-log`: what they print, refuse, and end with."""

from __future__ import annotations

import os
import shutil
import time

from ipfs_log_handlers.format.checkpoint import VerifierKey
from ipfs_log_handlers.home import keys, lock
from ipfs_log_handlers.home.layout import HomeDir
from tests.support import sample_homes
from tests.support.cli import run


def test_rotate_and_show(home):
    """`rotate` names both keys and the logs; `show` prints the new key on stdout, and the earlier one beside it."""
    sample_homes.make(home, 20)
    old = keys.load(HomeDir(home))
    assert old is not None
    (changed,) = run("keys", "rotate", home=home).objects
    new = keys.load(HomeDir(home))
    assert new is not None
    assert (changed["old"]["verifier"], changed["new"]["verifier"]) == (old.verifier.text, new.verifier.text)
    assert [2] == [log["batches"] for log in changed["ended"]]
    (shown,) = run("keys", "show", home=home).objects
    (earlier,) = shown["earlier"]
    assert VerifierKey.parse(shown["verifier"]) == new.verifier
    assert (earlier["verifier"], earlier["next"], earlier["ended"]) == (old.verifier.text, new.name, changed["ended"])
    assert earlier["changed"].endswith("Z")
    text = run("keys", "show", "-o", "text", home=home)
    assert text.out == new.verifier.text + "\n"
    assert f"until {earlier['changed'][:19].replace('T', ' ')} UTC the key was {old.verifier.text}" in text.err
    assert f"{earlier['ended'][0]['log']} ended with it, after 2 batches" in text.err
    sample_homes.make(home, 20)
    assert (0, [True, True]) == (
        run("verify", home=home).code,
        [each["ok"] for each in run("verify", home=home).objects],
    )
    with_old = run("verify", "--key", old.verifier.text, home=home)
    assert (3, [True, False]) == (with_old.code, [each["ok"] for each in with_old.objects])
    assert new.verifier.text in with_old.out
    again = run("keys", "rotate", "-o", "text", home=home)
    assert f"the old key was {new.verifier.text}\nthe key is now  ipfs-logs/" in again.out
    assert "both keys have signed its end" in again.out


def test_refused_beside_a_keeper_and_without_a_key(home):
    """Exit code 2, and the reason."""
    sample_homes.make(home, 3)
    held = lock.take(HomeDir(home))
    assert held is not None
    ended = run("keys", "rotate", home=home)
    held.release()
    assert ended.code == 2
    assert f"process {os.getpid()} on " in ended.err
    HomeDir(home).key.unlink()
    for verb in (["rotate"], ["same-log"], ["export", str(home.parent / "key.pem")]):
        ended = run("keys", *verb, home=home)
        assert (2, True) == (ended.code, "key" in ended.err), verb


def test_a_move(home, tmp_path):
    """Exported with a passphrase, copied without the key, imported, and the same log: the log goes on."""
    sample_homes.make(home, 20)
    file, passphrase = tmp_path / "key.pem", tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    exported = run("keys", "export", str(file), "--passphrase-file", str(passphrase), home=home)
    assert (0, True) == (exported.code, exported.objects[0]["encrypted"])
    assert f"{file} is a secret. Anyone who has it and its passphrase can sign" in exported.err
    assert run("keys", "export", str(file), home=home).code == 2
    plain = run("keys", "export", str(tmp_path / "plain.pem"), "-o", "text", home=home)
    assert "It is not encrypted. Anyone who has it can sign" in plain.err
    assert "PRIVATE" not in exported.out + exported.err + plain.out + plain.err
    moved = home.with_name("moved")
    shutil.copytree(home, moved)
    HomeDir(moved).key.unlink()
    refused = run("keys", "import", str(file), home=moved)
    assert (2, True) == (refused.code, "its passphrase is missing" in refused.err)
    imported = run("keys", "import", str(file), "--passphrase-file", str(passphrase), home=moved)
    assert imported.objects == [{name: exported.objects[0][name] for name in ("name", "key_id", "verifier", "ipns")}]
    while "files of the home still change" in (done := run("keys", "same-log", home=moved)).err:
        time.sleep(0.05)
    (log,) = done.objects
    assert (log["subsystem"], log["batches"], log["reason"]) == ("audit", 2, None)
    sample_homes.make(moved, 10)
    assert [(log["log"], 3)] == [(each["log"], each["batches"]) for each in run("verify", home=moved).objects]
    (sample_homes.subsystem_dir(moved).current.head).write_bytes(b"junk\n")
    ended = run("keys", "same-log", "-o", "text", home=moved)
    assert (2, True) == (ended.code, "audit ends, and a new log follows it: the head is damaged" in ended.out)


def test_an_empty_passphrase_is_refused(home, tmp_path):
    """A file without a first line is a mistake, not a key without a passphrase."""
    sample_homes.make(home, 3)
    for content in (b"", b"\nsecond line\n", b"\xff\n", b"x" * 2000):
        (tmp_path / "passphrase").write_bytes(content)
        ended = run("keys", "export", str(tmp_path / "k"), "--passphrase-file", str(tmp_path / "passphrase"), home=home)
        assert (2, True) == (ended.code, "is not a passphrase" in ended.err)
    assert not (tmp_path / "k").exists()
