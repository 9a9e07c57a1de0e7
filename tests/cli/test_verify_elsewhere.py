"""`ipfs-logs verify` from afar: every kind of source, remembered heads, and an exit code for each outcome."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import check_fork
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.keeper import new_log
from ipfs_log_handlers.reader import gateway as gateway_module
from ipfs_log_handlers.testing import FakeKubo
from tests.support import gateways, sample_homes
from tests.support.cli import run
from tests.support.logging_home import as_original


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0,)})


@pytest.fixture
def three(home: Path) -> Path:
    """Make a home with three batches."""
    sample_homes.make(home, 30)
    return home


def batches_of(home: Path) -> Batches:
    """Return the batches of the current log."""
    return Batches(sample_homes.subsystem_dir(home).current.batches)


def head_of(home: Path, index: int | None = None) -> str:
    """Return the CID of a head, by default the newest one."""
    batches = batches_of(home)
    return batches.facts(max(batches.indexes()) if index is None else index).head_cid.text


def key_of(home: Path) -> str:
    """Return the verifier key."""
    key = open_home(home).public_key()
    assert key is not None
    return key.verifier


def outcome(*arguments: object, home: Path | None = None) -> tuple[int, list[str]]:
    """Verify; return the exit code and the result of each log."""
    ended = run("verify", *arguments, home=home)
    return ended.code, [each["result"] for each in ended.objects]


def more(home: Path, numbers: range) -> None:
    """Log and seal more records."""
    sample_homes.log(home, numbers)
    sample_homes.seal(home)


@pytest.fixture
def served(three: Path) -> Iterator[dict[str, list[object]]]:
    """Give the log of a home at every kind of source: the options that name each."""
    head = ["--source", head_of(three)]
    blocks = gateways.blocks_of(three)
    with gateways.gateway(blocks, names={"newest": head_of(three)}) as gateway, FakeKubo() as daemon:
        daemon.store.blocks.update(blocks)
        yield {
            "home": ["--source", three],
            "car": ["--source", batches_of(three).file(0)],
            "cars": ["--source", three / "audit" / "batches"],
            "gateway": [*head, "--gateway", gateway.url],
            "kubo": [*head, "--kubo", daemon.url],
            "name": ["--source", "/ipns/newest", "--gateway", gateway.url],
        }


@pytest.mark.parametrize("deep", [[], ["--deep"]])
def test_each_kind_of_source_is_verified(three, served, deep):
    """With the key, and with the same counts; a single CAR has its one batch."""
    for name, source in served.items():
        ended = run("verify", *source, *deep, "--key", key_of(three), "--no-memory")
        (report,) = ended.objects
        assert (ended.code, report["result"], report["trust"]) == (0, "ok", "given"), name
        assert (report["batches"], report["records"]) == ((1, 10) if name == "car" else (3, 30)), name


def test_a_policy_names_the_keys(three, served, tmp_path):
    """As `--key` does; with witnesses it is an error, and another key signs nothing here."""
    policy = tmp_path / "policy"
    policy.write_text(f"log {key_of(three)} https://example.org\nquorum none\n")
    assert outcome(*served["gateway"], "--policy", policy) == (0, ["ok"])
    policy.write_text(f"log {key_of(three)}\nwitness w k\nquorum w\n")
    ended = run("verify", *served["gateway"], "--policy", policy)
    assert (ended.code, ended.out) == (2, "")
    assert "not supported yet" in ended.err
    assert run("verify", *served["gateway"], "--policy", tmp_path / "missing").code == 2


def test_the_key_is_pinned_with_the_first_head(three, served):
    """Without a key the first head is taken and that is said; a key that was given once is used ever after."""
    text = run("verify", *served["cars"], "-o", "text").out
    assert "no signature was checked" in text
    assert "seen for the first time: its head was remembered\n" in text
    assert outcome(*served["gateway"], "--key", key_of(three)) == (0, ["ok"])
    assert "signed with the key that was pinned before" in run("verify", *served["cars"], "-o", "text").out
    assert run("verify", *served["name"]).code == 2  # a name needs a key
    assert outcome(*served["name"], "--key", key_of(three)) == (0, ["ok"])
    (report,) = run("verify", *served["name"]).objects
    assert (report["result"], report["trust"]) == ("ok", "pinned")


def test_a_key_that_did_not_sign_is_told(three, served, tmp_path):
    """Result tampered, exit code 3, and nothing is remembered."""
    sample_homes.make(tmp_path / "other", 1)
    other = key_of(tmp_path / "other")
    for name, source in served.items():
        assert outcome(*source, "--key", other)[0] == 3, name
    assert [each["remembered"] for each in run("verify", home=three).objects] == [None]


def test_the_exit_codes_say_what_is_wrong(three, served, tmp_path):
    """1 nothing there, 2 usage, 3 tampered, 4 unreachable, 5 incomplete; other sources are verified all the same."""
    blocks = gateways.blocks_of(three)
    payload = batches_of(three).facts(1).manifest.payload
    source = ["--source", head_of(three), "--no-memory"]
    with gateways.gateway({cid: block for cid, block in blocks.items() if cid != payload}) as gateway:
        assert outcome(*source, "--gateway", gateway.url) == (5, ["incomplete"])
        assert outcome(*source, "--source", three, "--gateway", gateway.url) == (5, ["incomplete", "ok"])
    with gateways.gateway({**blocks, payload: b"junk"}) as gateway:
        assert outcome(*source, "--gateway", gateway.url) == (3, ["tampered"])
    assert outcome(*source, "--gateway", "http://127.0.0.1:9") == (4, ["unreachable"])
    assert run("verify", *source).code == 2
    assert run("verify", *source, home=three).code == 2
    assert run("verify", "--gateway", "http://127.0.0.1:9", home=three).code == 2
    assert run("verify", "--memory", tmp_path, "--no-memory", home=three).code == 2
    assert run("verify", "wal", *served["cars"]).code == 1
    cars = tmp_path / "cars"
    shutil.copytree(three / "audit" / "batches", cars)
    (cars / "junk.car").write_bytes(b"junk")
    assert sorted(outcome("--source", cars)[1]) == ["ok", "tampered"]
    (cars / "junk.car").unlink()
    (cars / "000" / "000001.car").unlink()
    assert outcome("--source", cars) == (5, ["incomplete"])


def test_a_sample_and_a_time_leave_payloads_out_and_say_so(three, served):
    """Every manifest is verified, and the newest payload; what was not looked at is counted."""
    blocks = gateways.blocks_of(three)
    payloads = [batches_of(three).facts(index).manifest.payload for index in range(3)]
    for source in (["--source", three], served["cars"], served["kubo"]):
        (report,) = run("verify", *source, "--sample", 1).objects
        assert (report["result"], report["unchecked"]) == ("ok", 1)
        (report,) = run("verify", *source, "--since", "2200-01-01").objects
        assert (report["result"], report["unchecked"]) == ("ok", 3)
    with gateways.gateway({cid: block for cid, block in blocks.items() if cid not in payloads[:2]}) as gateway:
        given = ["--source", head_of(three), "--gateway", gateway.url]
        assert outcome(*given) == (5, ["incomplete"])
        last = batches_of(three).facts(2).manifest.first / 1_000_000
        assert outcome(*given, "--since", last) == (0, ["ok"])
    assert "not looked at: 1 payload; all manifests were" in run("verify", "--sample", 1, "-o", "text", home=three).out
    assert run("verify", "--sample", 0, home=three).code == 2


# -- what was verified before


def test_a_home_that_was_restored_from_an_old_backup_is_found(three, tmp_path):
    """Stale: exit code 3, the words name the file that must go if that was on purpose; then it is seen anew."""
    shutil.copytree(three, tmp_path / "backup")
    more(three, range(30, 50))
    assert outcome(home=three) == (0, ["ok"])
    shutil.rmtree(three)
    shutil.copytree(tmp_path / "backup", three)
    assert outcome(home=three) == (3, ["stale"])
    ended = run("verify", "-o", "text", home=three)
    assert "audit: NOT OK (stale): 3 batches" in ended.out
    file = ended.out.partition("delete ")[2].split()[0]
    Path(file).unlink()
    assert outcome(home=three) == (0, ["ok"])


@pytest.mark.parametrize("place", ["kubo", "gateway"])
def test_an_older_head_from_afar_is_stale(three, place):
    """A server that shows the log as it was is found by who has seen it later."""
    blocks = gateways.blocks_of(three)
    with gateways.gateway(blocks) as gateway, FakeKubo() as daemon:
        daemon.store.blocks.update(blocks)
        where = ["--gateway", gateway.url] if place == "gateway" else ["--kubo", daemon.url]
        how = [*where, "--key", key_of(three)]
        assert outcome("--source", head_of(three, 1), *how) == (0, ["ok"])
        assert outcome("--source", head_of(three), *how) == (0, ["ok"])
        assert outcome("--source", head_of(three, 1), *how) == (3, ["stale"])
        assert outcome("--source", head_of(three, 1), *how, "--no-memory") == (0, ["ok"])


@pytest.fixture
def forked(three: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Make a home and its copy that both went on, with the same key, as the same log."""
    copy = tmp_path / "copy"
    shutil.copytree(three, copy)
    as_original(copy / "audit")
    for path, numbers in ((three, range(30, 40)), (copy, range(40, 60))):
        new_log._sealed_here.clear()
        more(path, numbers)
    return three, copy


def test_a_fork_is_found_and_both_signed_heads_are_written(forked, tmp_path):
    """Exit code 3, and a file that anybody can check offline with the key alone."""
    one, other = forked
    key = key_of(one)
    assert outcome("--source", one / "audit" / "batches", "--key", key) == (0, ["ok"])
    ended = run("verify", "--source", other / "audit" / "batches", "--key", key)
    (report,) = ended.objects
    assert (ended.code, report["result"], report["remembered"]) == (3, "forked", 4)
    evidence = Path(report["evidence"])
    assert str(evidence) in report["problems"][0]["found"]
    shown = check_fork(evidence.read_bytes(), key)
    assert (shown.log, shown.older.size, shown.newer.size) == (report["log"], 4, 5)
    checked = run("verify", "--evidence", evidence, "--key", key)
    assert (checked.code, checked.objects[0]["result"]) == (3, "forked")
    assert "FORKED" in run("verify", "--evidence", evidence, "--key", key, "-o", "text").out
    assert run("verify", "--evidence", evidence).code == 2
    assert run("verify", "--evidence", evidence, "--key", key_of(other).replace("A", "B")).code != 0
    assert outcome(home=one) == (0, ["ok"])
    assert outcome(home=other) == (3, ["forked"])


def test_two_histories_in_one_source_are_a_fork(forked, tmp_path):
    """CAR files of both: the heads of one size are the evidence."""
    one, other = forked
    cars = tmp_path / "cars"
    for name, home in (("one", one), ("other", other)):
        shutil.copytree(home / "audit" / "batches", cars / name)
    ended = run("verify", "--source", cars, "--key", key_of(one))
    (report,) = ended.objects
    assert (ended.code, report["result"]) == (3, "forked")
    shown = check_fork(Path(report["evidence"]).read_bytes(), key_of(one))
    assert shown.older.size == shown.newer.size == 4


def test_a_log_that_vanished_is_named(three):
    """In a home, also together with the list of its logs, and for a subsystem that is asked for."""
    sample_homes.make(three, 5, "wal")
    assert outcome(home=three) == (0, ["ok", "ok"])
    shutil.rmtree(three / "wal")
    (three / "logs.list").unlink()
    ended = run("verify", home=three)
    last = ended.objects[-1]
    assert (ended.code, last["subsystem"], last["result"]) == (3, "wal", "vanished")
    assert outcome("audit", home=three) == (0, ["ok"])


def test_a_name_that_leads_to_another_log_has_lost_the_first(three, tmp_path):
    """Also where the other log is signed with a key that is trusted."""
    names = {"newest": head_of(three)}
    sample_homes.make(tmp_path / "other", 5)
    blocks = gateways.blocks_of(three) | gateways.blocks_of(tmp_path / "other")
    keys = ["--key", key_of(three), "--key", key_of(tmp_path / "other")]
    with gateways.gateway(blocks, names=names) as gateway:
        given = ["--source", "/ipns/newest", "--gateway", gateway.url, *keys]
        assert outcome(*given) == (0, ["ok"])
        names["newest"] = head_of(tmp_path / "other")
        assert outcome(*given) == (3, ["ok", "vanished"])


def test_a_memory_that_cannot_be_written_is_told(three, tmp_path):
    """The default one does not stop the verification; one that was named does."""
    file = tmp_path / "file"
    file.write_bytes(b"")
    ended = run("verify", home=three, IPFS_LOGS_KNOWN_LOGS=str(file))
    assert ended.code == 0
    assert "the heads are neither compared nor remembered" in ended.err
    assert run("verify", "--memory", file, home=three).code == 2


def test_a_program_has_the_same_verification(three, served, known_logs):
    """`Dataset.verify` and `Home.verify` take `memory`, `since`, `sample`; nothing is remembered without `memory`."""
    assert [report.result for report in open_home(three).verify()] == ["ok"]
    with open_dataset(three / "audit" / "batches", keys=[key_of(three)]) as dataset:
        assert [report.result for report in dataset.verify(deep=False, sample=1)] == ["ok"]
        assert not known_logs.exists()
        seen: list[Any] = []
        (report,) = dataset.verify(memory=True, since=0, progress=lambda *each: seen.append(each))
        assert (report.as_json()["first_seen"], seen[-1]) == (True, ("audit", 3, 3))
    (report,) = open_home(three).verify(memory=known_logs)
    assert (report.remembered, report.result) == (3, "ok")


@pytest.mark.parametrize("place", ["rpc", "gateway"])
def test_a_log_is_verified_from_a_real_daemon_with_head_and_key(three, kubo, place, known_logs):
    """As a reader on another machine does, twice, and with more batches in between."""
    where = ["--kubo", kubo.url] if place == "rpc" else ["--gateway", kubo.gateway_url]
    for count, remembered in ((30, None), (40, 3)):
        if count > 30:
            more(three, range(30, count))
        sample_homes.ship(three, kubo.url)
        ended = run("verify", "--source", head_of(three), *where, "--key", key_of(three), "--deep")
        (report,) = ended.objects
        assert (ended.code, report["result"], report["records"]) == (0, "ok", count)
        assert report["remembered"] == remembered
    assert outcome("--source", head_of(three, 2), *where, "--key", key_of(three)) == (3, ["stale"])
