"""Two manifests of one number, or a log that goes on at a store: verify sees what the stores have that it may ask."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.testing import FakeKubo
from tests.support import sample_homes
from tests.support.cli import run
from tests.support.logging_home import as_original


@pytest.fixture
def kubo() -> Iterator[FakeKubo]:
    """Start a store."""
    with FakeKubo() as daemon:
        yield daemon


@pytest.fixture
def twice(home: Path, tmp_path: Path, kubo: FakeKubo) -> Path:
    """Make a home that went back without a trace, so that batch 2 was signed twice; the store has both."""
    sample_homes.make(home, 20)
    sample_homes.ship(home, kubo.url)
    copy = tmp_path / "copy"
    shutil.copytree(home, copy)
    as_original(copy / "audit")
    for path, numbers in ((home, range(20, 30)), (copy, range(30, 40))):
        new_log._sealed_here.clear()
        sample_homes.log(path, numbers)
        sample_homes.ship(path, kubo.url)
    kubo.requests.clear()
    return home


def problems(home: Path, *arguments: str, **environment: str) -> list[tuple[int, str]]:
    """Return batch and field of each problem of the only log."""
    (report,) = run("verify", *arguments, home=home, **environment).objects
    return [(problem["batch"], problem["field"]) for problem in report["problems"]]


def test_a_number_that_was_signed_twice_is_found(twice, kubo):
    """One manifest is in the home, the other at the store: exit code 3, and the text names both and the store."""
    assert 0 == run("verify", home=twice).code
    ended = run("verify", "--kubo", kubo.url, "-o", "text", home=twice)
    assert 3 == ended.code
    assert "batch 2: manifest: expected one manifest, bafy" in ended.out
    assert f"at {kubo.url}" in ended.out
    assert [(2, "manifest")] == sorted(set(problems(twice, "--kubo", kubo.url)))


def test_the_store_of_the_environment_is_asked_and_one_that_only_the_home_names_is_not(twice, kubo, monkeypatch):
    """As by the other commands that read; `--fetch` asks it all the same."""
    sample_homes.log(twice, range(40, 50), kubo=kubo.url)
    sample_homes.seal(twice)
    kubo.requests.clear()
    assert 0 == run("verify", home=twice).code
    assert [] == kubo.requests
    assert 3 == run("verify", "--fetch", home=twice).code
    monkeypatch.setenv("IPFS_LOGS_KUBO", kubo.url)
    assert 3 == run("verify", home=twice).code


def test_a_log_that_goes_on_at_the_store_is_found(home, kubo):
    """A home that went back has fewer batches than its store."""
    sample_homes.make(home, 20)
    kept = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    sample_homes.log(home, range(20, 40))
    sample_homes.ship(home, kubo.url)
    shutil.rmtree(home / "audit" / "batches")
    shutil.rmtree(home / "audit" / "shipped")
    for path, data in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert 0 == run("verify", home=home).code
    assert {(2, "store"), (3, "store")} == set(problems(home, "--kubo", kubo.url))


def test_what_belongs_there_is_no_problem(home, tmp_path, kubo):
    """Batches of this home, of another home, former logs, and pins of other programs."""
    sample_homes.make(home, 20)
    sample_homes.end(home)
    sample_homes.make(home, 20)
    sample_homes.ship(home, kubo.url)
    sample_homes.make(tmp_path / "other", 20)
    sample_homes.ship(tmp_path / "other", kubo.url)
    kubo.store.pins = {**kubo.store.pins, **dict.fromkeys(list(kubo.store.blocks), "")}
    assert 0 == run("verify", "--kubo", kubo.url, home=home).code


@pytest.mark.parametrize("damage", ["flipped", "junk", "missing"])
def test_a_store_that_answers_with_something_else_makes_no_problem_of_the_log(home, kubo, damage):
    """Its blocks are rehashed; one that is not what its name says is nothing."""
    sample_homes.make(home, 20)
    sample_homes.ship(home, kubo.url)
    copy: dict[Any, bytes] = dict(kubo.store.blocks)
    for cid, block in copy.items():
        if damage == "missing":
            del kubo.store.blocks[cid]
        else:
            kubo.store.blocks[cid] = b"junk" if damage == "junk" else block[:-1] + bytes([block[-1] ^ 1])
    assert 0 == run("verify", "--kubo", kubo.url, home=home).code


def test_a_store_that_cannot_be_asked_is_told(home, monkeypatch):
    """With exit code 4 where it was asked for; the store of the environment is a remark."""
    sample_homes.make(home, 20)
    ended = run("verify", "--kubo", "http://127.0.0.1:9", home=home)
    assert 4 == ended.code
    assert "could not be checked completely" in ended.err
    monkeypatch.setenv("IPFS_LOGS_KUBO", "http://127.0.0.1:9")
    ended = run("verify", home=home)
    assert 0 == ended.code
    assert "could not be checked completely" in ended.err


def test_the_token_goes_to_the_store_that_was_named_beside_it(twice, kubo):
    """And to no other."""
    run("verify", "--kubo", kubo.url, "--token", "bearer:mine", home=twice)
    assert {"Bearer mine"} == {request.headers["authorization"] for request in kubo.requests}
    assert 2 == run("verify", "--token", "bearer:mine", home=twice).code
