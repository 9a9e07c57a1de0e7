"""Erase one tenant with `ipfs-logs keys shred --scope`, and what each verb says then."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.cli import run
from tests.support.encrypted import ALICE, ALICE_KEY
from tests.support.logging_home import put_segment, record, seal_home

TENANTS = ("acme-industries", "globex-corporation", None)
OTHERS = [2, 3, 5, 6, 8, 9]
TOLD = "erased by policy, their keys were destroyed: 1 batch with 3 records"
READERS = {
    "cat": ["cat"],
    "query": ["query"],
    "hist": ["hist", "--span", "1d"],
    "top": ["top", "seq"],
    "sql": ["sql", "SELECT seq FROM logs"],
    "export": ["export", "out.jsonl"],
}


def fields_of(tenant: str | None) -> dict[str, Any]:
    """Return the fields of a record of a tenant."""
    return {} if tenant is None else {"tenant_id": tenant}


def _put(home: Path) -> None:
    content = b"".join(
        line.record(record(seq, event=f"quagga {seq}", **fields_of(tenant)))
        for seq, tenant in ((seq, TENANTS[(seq - 1) % 3]) for seq in range(1, 10))
    )
    encrypt = Encrypt(recipients=(ALICE_KEY,), scope="tenant_id")
    put_segment(HomeDir(home).subsystem_dir("logs"), content, encrypt=encrypt)
    seal_home(home)


@pytest.fixture(scope="module")
def erased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home from which one of two tenants was erased; the file `alice` is beside it."""
    home = tmp_path_factory.mktemp("by-scope") / "home"
    (home.parent / "alice").write_text(f"{ALICE}\n")
    _put(home)
    assert len(run("keys", "periods", "--scope", "acme-industries", "-o", "json", home=home).objects) == 1
    with mock.patch.object(sys, "stdin", io.StringIO("acme-industries\n")):
        ended = run("keys", "shred", "--scope", "-", "--reason", "asked for", home=home)
    assert ended.code == 0, ended.err
    (result,) = ended.objects
    assert (len(result["keys"]), result["batches"], result["index"]) == (1, 1, 3)
    return home


@pytest.mark.parametrize("verb", READERS)
def test_readers_show_the_others(erased: Path, tmp_path: Path, verb: str) -> None:
    """And say on stderr what was erased: exit code 5."""
    arguments = [str(tmp_path / part) if part == "out.jsonl" else part for part in READERS[verb]]
    ended = run(*arguments, "-o", "json", "--identity", erased.parent / "alice", home=erased)
    assert (ended.code, ended.err) == (5, f"ipfs-logs: error: {TOLD}\n")
    if verb in ("cat", "query", "sql"):
        assert sorted(found["seq"] for found in ended.objects) == OTHERS
    if verb == "export":
        assert len((tmp_path / "out.jsonl").read_bytes().splitlines()) == len(OTHERS)


def test_verify_ls_status_and_keys(erased: Path) -> None:
    """The log is whole; the key of the tenant is shredded; its value is in no name."""
    (report,) = run("verify", "--identity", erased.parent / "alice", "--no-memory", "-o", "json", home=erased).objects
    assert (report["ok"], report["records"], report["erased"], report["gaps"]) == (True, 9, 1, 0)
    assert [batch["records"] for batch in run("ls", "-o", "json", home=erased).objects] == [3, 3, 3, 0]
    (status,) = run("status", "-o", "json", home=erased).objects
    assert (status["sealed"], status["last_error"]) == (9, None)
    listed = run("keys", "periods", "-o", "json", home=erased).objects
    assert sorted((key["state"], key["scope"] is None) for key in listed) == [
        ("present", False),
        ("present", True),
        ("shredded", False),
    ]
    text = run("keys", "periods", "-o", "text", home=erased)
    assert not any(tenant in text.out for tenant in TENANTS if tenant)
    assert run("keys", "periods", "--scope", "hooli", home=erased).code == 1
    assert "2 values of tenant_id" in run("doctor", "-o", "text", home=erased).out


def test_readers_elsewhere(erased: Path, tmp_path: Path) -> None:
    """A CAR file, and a mirror in another home: the act says there, too, what was erased."""
    file, with_keys = tmp_path / "log.car", ["--identity", erased.parent / "alice", "--key-dir", erased / "keys"]
    assert run("export", file, home=erased).code == 0
    ended = run("query", "--source", file, *with_keys, "-o", "json")
    assert (ended.code, sorted(found["seq"] for found in ended.objects)) == (5, OTHERS)
    assert TOLD in ended.err
    (report,) = run("verify", "--source", file, "--deep", "--no-memory", "-o", "json", *with_keys).objects
    assert (report["ok"], report["erased"], report["gaps"]) == (True, 1, 0)
    key = run("keys", "show", "-o", "text", home=erased).out.splitlines()[0]
    other = tmp_path / "other"
    ended = run("mirror", erased, "--key", key, home=other)
    assert ended.code == 0, ended.err
    ended = run("query", "--key", key, *with_keys, "-o", "json", home=other)
    assert (ended.code, sorted(found["seq"] for found in ended.objects)) == (5, OTHERS), ended.err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--scope", "hooli"], "no key of this value is here"),
        ([], "--period PERIOD, or --scope VALUE"),
        (["--scope", "acme-industries", "--key-dir", "."], "Keys of values are not issued"),
        (["--scope", "acme-industries", "--period", "march"], "not a period"),
    ],
)
def test_mistakes(erased: Path, given: list[str], message: str) -> None:
    """Nothing is destroyed, and the message says what to do."""
    ended = run("keys", "shred", *given, "--reason", "asked for", home=erased)
    assert ended.code == 2
    assert message in ended.err
