"""`--identity` in every verb that reads records, and what a reader without one is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ipfs_log_handlers.api import open_home
from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.home import data_keys, key_shredding
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.testing import FakeDaemon
from tests.support.cli import run
from tests.support.encrypted import ALICE, ALICE_KEY, BOB
from tests.support.logging_home import lines, put_segment, seal_home

READERS = {
    "cat": ["cat"],
    "query": ["query"],
    "hist": ["hist", "--span", "1d"],
    "top": ["top", "seq"],
    "sql": ["sql", "SELECT seq FROM logs"],
    "export": ["export", "out.jsonl"],
    "show": ["show", "logs", "0/2"],
}
TOLD = "encrypted, open them with --identity FILE or IPFS_LOGS_IDENTITY: 2 batches with 6 records"


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with two encrypted batches, and files with two identities beside it."""
    directory = tmp_path_factory.mktemp("encrypted")
    home = directory / "home"
    put_segment(HomeDir(home).subsystem_dir("logs"), lines(1, 6), encrypt=Encrypt(recipients=(ALICE_KEY,)), records=3)
    assert seal_home(home) == 2
    for name, identity in (("alice", ALICE), ("bob", BOB)):
        (directory / name).write_text(f"# a comment\n{identity}\n")
    return home


def _read(home: Path, verb: str, tmp_path: Path, *more: object, **env: str):
    arguments = [str(tmp_path / part) if part == "out.jsonl" else part for part in READERS[verb]]
    return run(*arguments, "-o", "json", *more, home=home, **env)


@pytest.mark.parametrize("verb", READERS)
def test_a_verb_with_the_identity_of_a_recipient(sealed: Path, tmp_path: Path, verb: str) -> None:
    """As an option or by the environment, every verb reads as if nothing were encrypted."""
    alice = sealed.parent / "alice"
    for ended in (
        _read(sealed, verb, tmp_path, "--identity", alice),
        _read(sealed, verb, tmp_path, IPFS_LOGS_IDENTITY=str(alice)),
        _read(sealed, verb, tmp_path, "--identity", sealed.parent / "bob", "--identity", alice),
    ):
        assert (ended.code, ended.err) == (0, "")
        assert ended.objects


@pytest.mark.parametrize("verb", READERS)
def test_a_verb_without_one(sealed: Path, tmp_path: Path, verb: str) -> None:
    """No identity, or that of another person: one line on stderr, exit code 5, and no record."""
    for more in ((), ("--identity", sealed.parent / "bob")):
        ended = _read(sealed, verb, tmp_path, *more)
        assert ended.code == 5
        told = TOLD.replace("2 batches with 6", "1 batch with 3") if verb == "show" else TOLD
        assert ended.err == f"ipfs-logs: error: {told}\n"
        assert "2026-01-02" not in ended.out


def test_counts_of_what_was_not_opened(sealed: Path) -> None:
    """`--stats` says in JSON how many batches and records are encrypted to others."""
    ended = run("query", "--stats", "-o", "json", home=sealed)
    assert json.loads(ended.err.splitlines()[0])["encrypted"] == {"batches": 2, "records": 6}


def test_a_list_needs_no_identity(sealed: Path) -> None:
    """Batches are listed with their counts, minutes and sizes."""
    ended = run("ls", "-o", "json", home=sealed)
    assert ended.code == 0
    assert [(batch["records"], batch["encoding"], batch["meta"]) for batch in ended.objects] == [
        (3, "jsonl+zstd+age", {})
    ] * 2


def test_verify(sealed: Path) -> None:
    """Without an identity all but the records is verified: the log is ok, and the exit code says what is left."""
    (without,) = (ended := run("verify", "--no-memory", "-o", "json", home=sealed)).objects
    assert (ended.code, without["ok"], without["encrypted"], without["problems"]) == (5, True, 2, [])
    assert "the records of 2 encrypted batches were not counted" in ended.err
    ended = run("verify", "--no-memory", "-o", "json", "--identity", sealed.parent / "alice", home=sealed)
    assert (ended.code, ended.objects[0]["ok"], ended.objects[0]["encrypted"]) == (0, True, 0)
    text = run("verify", "--no-memory", "-o", "text", home=sealed)
    assert "encrypted, and verified without their records: 2 batches" in text.out


def test_prove_and_check(sealed: Path, tmp_path: Path) -> None:
    """Who can open a record proves it; who checks the proof needs no identity."""
    alice, bundle = sealed.parent / "alice", tmp_path / "record.proof"
    name = ["logs", "--seq", 5]
    ended = run("prove", *name, bundle, home=sealed)
    assert (ended.code, bundle.exists()) == (5, False)
    assert "the records are encrypted to the key logs/" in ended.err
    assert run("prove", *name, bundle, "--identity", alice, home=sealed).code == 0
    key = run("keys", "show", "-o", "text", home=sealed).out.splitlines()[0]
    checked = run("check", bundle, "--key", key, "-o", "json")
    assert (checked.code, checked.objects[0]["record"]["seq"], checked.objects[0]["index"]) == (0, 5, 1)


def test_other_sources(sealed: Path, tmp_path: Path) -> None:
    """A CAR file is opened with the key directory of the home, or with a copy of it; without it nothing is."""
    file, alice = tmp_path / "log.car", sealed.parent / "alice"
    assert run("export", file, home=sealed).code == 0
    with_keys = ["--identity", alice, "--key-dir", sealed / "keys"]
    ended = run("query", "--source", file, *with_keys, "-o", "json")
    assert (ended.code, [found["seq"] for found in ended.objects]) == (0, [1, 2, 3, 4, 5, 6])
    assert run("query", "--source", file, "--identity", alice, "-o", "json").code == 5
    (report,) = (ended := run("verify", "--source", file, "--deep", "--no-memory", "-o", "json", *with_keys)).objects
    assert (ended.code, report["ok"], report["encrypted"]) == (0, True, 0)
    (report,) = (ended := run("verify", "--source", file, "--deep", "--no-memory", "-o", "json")).objects
    assert (ended.code, report["ok"], report["encrypted"]) == (5, True, 2)


def test_the_head_of_a_log_at_a_daemon(sealed: Path, tmp_path: Path, daemon: FakeDaemon) -> None:
    """A reader elsewhere, with the CID of a head, an identity and a copy of the key directory, reads all of it."""
    alice = sealed.parent / "alice"
    assert run("ship", "--kubo", daemon.url, home=sealed).code == 0
    head = run("status", "-o", "json", home=sealed).objects[0]["head"]
    source = ["--source", head, "--kubo", daemon.url, "-o", "json"]
    with_keys = ["--identity", alice, "--key-dir", sealed / "keys"]
    ended = run("query", *source, *with_keys)
    assert (ended.code, [found["seq"] for found in ended.objects]) == (0, [1, 2, 3, 4, 5, 6])
    ended = run("query", *source)
    assert (ended.code, ended.out, ended.err) == (5, "", f"ipfs-logs: error: {TOLD}\n")
    (report,) = (ended := run("verify", *source, "--deep", "--no-memory", *with_keys)).objects
    assert (ended.code, report["result"], report["encrypted"]) == (0, "ok", 0)
    batch, bundle = run("ls", "-o", "json", home=sealed).objects[1]["cid"], tmp_path / "record.proof"
    prove = ["prove", f"{batch}/1", bundle, "--head", head, "--kubo", daemon.url]
    assert run(*prove).code == 5
    assert run(*prove, *with_keys).code == 0
    key = run("keys", "show", "-o", "text", home=sealed).out.splitlines()[0]
    assert run("check", bundle, "--key", key, "-o", "json").objects[0]["record"]["seq"] == 5


def test_a_destroyed_key(tmp_path: Path) -> None:
    """Readers say that it was erased by policy; the log still verifies, without an identity, too."""
    home = tmp_path / "home"
    put_segment(HomeDir(home).subsystem_dir("logs"), lines(1, 4), encrypt=Encrypt(recipients=(ALICE_KEY,)))
    seal_home(home)
    (key,) = data_keys.keys_in(HomeDir(home))
    key_shredding.begin_shred(HomeDir(home), key.kid, {})
    key_shredding.finish_shred(HomeDir(home), key.kid)
    ended = run("cat", "--identity", _file(tmp_path, ALICE), "-o", "json", home=home)
    assert (ended.code, ended.out) == (5, "")
    assert "erased by policy, their keys were destroyed: 1 batch with 4 records" in ended.err
    (report,) = (ended := run("verify", "--no-memory", "-o", "json", home=home)).objects
    assert (ended.code, report["ok"], report["encrypted"], report["erased"]) == (0, True, 0, 1)
    with pytest.raises(Exception, match="erased by policy"), open_home(home).dataset(identity=ALICE) as dataset:
        list(dataset)


@pytest.mark.parametrize("verb", READERS)
def test_a_file_that_is_no_identity(sealed: Path, tmp_path: Path, verb: str) -> None:
    """The error names it, with the exit code of a wrong configuration."""
    (tmp_path / "notes").write_text("hello")
    ended = _read(sealed, verb, tmp_path, "--identity", tmp_path / "notes")
    assert ended.code == 2
    assert "not an identity of age" in ended.err


def _file(directory: Path, identity: str) -> Path:
    path = directory / "identity"
    path.write_text(identity)
    return path
