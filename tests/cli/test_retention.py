"""`ipfs-logs retention`: what it prints, refuses, and ends with; and what the other verbs say of what is pruned."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import sample_homes
from tests.support.cli import run

ADDRESS = "memory:retention"


@pytest.fixture(autouse=True)
def store() -> Iterator[MemoryStore]:
    """Make the store `memory:retention`."""
    yield MemoryStore.named("retention")
    MemoryStore.forget()


def made(home: Path, **settings: Any) -> None:
    """Make a home with three shipped batches of ten records."""
    sample_homes.log(home, range(30), kubo=[ADDRESS], **settings)
    sample_homes.ship(home, ADDRESS)


def test_plan_and_apply(home):
    """The plan changes nothing and is the default; `apply` does what it says, and the plan then says so."""
    made(home, retention={"keep": "0d", "then": "prune"})
    plan = run("retention", "plan", home=home)
    assert (0, "") == (plan.code, plan.err)
    assert plan == run("retention", home=home)
    going, newest = plan.objects
    assert {
        "subsystem": "audit", "log": going["log"], "first": 0, "last": 1, "records": 20, "size": going["size"],
        "since": going["since"], "until": going["until"], "decision": "prune", "why": "older than 0 d",
    } == going  # fmt: skip
    assert ("keep", "the newest of its log") == (newest["decision"], newest["why"])
    text = run("retention", "plan", "-o", "text", home=home).out
    assert "SUBSYSTEM  LOG       BATCHES  RECORDS" in text
    assert "to give up: 2 batches with 20 records, " in text

    applied = run("retention", "apply", "--reason", "old", "--by", "ada", home=home)
    (result,) = applied.objects
    assert (0, "") == (applied.code, applied.err)
    assert {
        "subsystem": "audit", "batches": 2, "records": 20, "size": going["size"], "acts": result["acts"], "left": {},
    } == result  # fmt: skip
    (act,) = [batch for batch in run("ls", home=home).objects if "act" in batch["meta"]]
    assert ([act["cid"]], "prune of 2 batches: old") == (result["acts"], act["meta"]["act"])
    after = [each["decision"] for each in run("retention", home=home).objects]
    assert ["pruned", "prune", "keep"] == after  # the act is the newest batch now
    assert "audit: given up: 1 batch with 10 records, " in run("retention", "apply", "-o", "text", home=home).out


def test_the_other_verbs_say_pruned(home):
    """Readers show what is left, and count the rest on stderr; `verify` counts it; nothing is an error."""
    made(home)
    assert 0 == run("retention", "apply", "--keep", "0d", home=home).code
    told = "ipfs-logs: audit: 2 batches pruned: the records were given up, and the log says so\n"
    for verb in (["cat"], ["query"]):
        ended = run(*verb, home=home)
        assert (0, told) == (ended.code, ended.err)
        assert list(range(20, 30)) == [record["number"] for record in ended.objects]
    verified = run("verify", home=home)
    (report,) = verified.objects
    assert (0, True, 2, 0) == (verified.code, report["ok"], report["pruned"], report["absent"])
    assert "30 records, 2 payloads pruned:" in run("verify", "-o", "text", home=home).out
    ended = run("show", "audit", "0/1", home=home)
    assert (1, "", True) == (ended.code, ended.out, "audit batch 0 is pruned: its payload was given up on" in ended.err)
    ended = run("export", str(home.parent / "log.car"), "-o", "text", home=home)
    assert (0, True) == (ended.code, "audit: 4 batches, 2 payloads pruned" in ended.out)
    key = sample_homes.key_of(home)
    ended = run("verify", "--source", str(home.parent / "log.car"), "--key", key)
    assert (0, "") == (ended.code, ended.err)
    (log,) = ended.objects
    assert (True, 2) == (log["ok"], log["pruned"])
    assert 0 == run("ship", home=home).code
    (made_now,) = run("snapshot", home=home).objects
    assert (2, {}) == (made_now["pruned"], made_now["problems"])
    assert 0 == run("doctor", home=home).code
    cid = run("ls", home=home).objects[0]["cid"]
    ended = run("prove", f"{cid}/1", str(home.parent / "a.proof"), home=home)
    assert (4, True) == (ended.code, "its payload was given up on" in ended.err)


def test_without_a_rule_nothing_is_planned(home):
    """Exit code 1, or 2 where a subsystem without a rule is named."""
    made(home)
    for verb in ("plan", "apply"):
        ended = run("retention", verb, home=home)
        assert (1, "") == (ended.code, ended.out)
        assert "set retention on its handler, or give --keep" in ended.err
        ended = run("retention", verb, "audit", home=home)
        assert (2, "") == (ended.code, ended.out)
        assert "audit has no retention rule" in ended.err
        ended = run("retention", verb, "--keep", "soon", home=home)
        assert (2, True) == (ended.code, "not an age" in ended.err)
        assert 2 == run("retention", verb, "wal", home=home).code


def test_a_store_that_does_not_answer_is_code_4(home, store):
    """What is left is named, and the next run goes on."""
    made(home)
    store.state = "down"
    ended = run("retention", "apply", "--keep", "0d", home=home)
    assert (4, True) == (ended.code, f"audit: not done yet: {ADDRESS}: " in ended.err)
    assert 30 == len(run("cat", home=home).objects)
    store.state = "up"
    assert 0 == run("retention", "apply", "--keep", "0d", home=home).code
    assert [] == run("cat", home=home).objects  # the first act is the newest batch now, so the third one went, too
