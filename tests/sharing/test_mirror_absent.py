"""A mirror of a log whose payloads are not all to be had: the rest comes, the absent ones are named and asked for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from ipfs_log_handlers import open_dataset, open_home
from ipfs_log_handlers.api import MirroredLog
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home import delivery_state
from ipfs_log_handlers.home.absent_payloads import AbsentPayloads
from ipfs_log_handlers.home.imported_logs import MirroredDir, mirrored_logs
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.reader.gateway import Gateway
from ipfs_log_handlers.sharing import mirror_pieces, mirror_pins
from ipfs_log_handlers.testing.memory_store import MemoryStore
from tests.support import archives, forked, kill_steps, sample_homes
from tests.support.cli import run
from tests.support.gateways import Answer, blocks_of, gateway


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Make the home of another machine, with a log of three batches."""
    sample_homes.make(tmp_path / "other", 30)
    return tmp_path / "other"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0,)})


def mirror(home: Path, *sources: str | Path, keys: Sequence[str] = (), **options: object) -> list[MirroredLog]:
    """Mirror once."""
    return list(open_home(home, must_exist=False).mirror(sources, keys=keys, **options))  # type: ignore[arg-type]


def told(found: MirroredLog) -> tuple[str, int, int, int, int]:
    """Return result, batches, new batches, pruned and absent payloads."""
    return found.result, found.batches, found.new_batches, found.pruned, found.absent


def numbers(home: Path) -> list[int]:
    """Return the numbers of all records in a home that can be read."""
    gaps: list[object] = []
    with open_dataset(home, on_gap=gaps.append) as dataset:
        return [record["number"] for record in dataset]


def verified(home: Path, other: Path) -> list[tuple[str, int, list[tuple[int | None, str]]]]:
    """Verify the copies: the result, the pruned payloads and the problems of each log."""
    with open_dataset(home / "imported-logs", keys=[sample_homes.key_of(other)]) as dataset:
        reports = [report.as_json() for report in dataset.verify(deep=True)]
    return [
        (each["result"], each["pruned"], [(one["batch"], one["field"]) for one in each["problems"]]) for each in reports
    ]


def prune(home: Path) -> None:
    """Give up the payloads of all batches with records, but the newest one of a log, which its act follows."""
    (result,) = open_home(home).apply_retention(subsystems=["audit"], keep="0d")
    assert result.batches
    assert not result.left


@pytest.mark.slow
@pytest.mark.parametrize("source", ["home", "gateway", "cars"])
def test_a_missing_payload_holds_up_nothing(home, other, tmp_path, source):
    """The batches around it come, its manifest, too; the next run gets the payload from where it is again."""
    keys = [sample_homes.key_of(other)]
    whole = blocks_of(other)
    lost = sample_homes.batches_of(other).facts(1).manifest.payload
    shutil.copytree(other, tmp_path / "less")
    sample_homes.strip(tmp_path / "less", 1)
    with gateway({cid: block for cid, block in whole.items() if cid != lost}) as less, gateway(whole) as full:
        given = {
            "home": ((tmp_path / "less", {}), (other, {})),
            "gateway": ((sample_homes.head_of(other), {"gateway": less.url}),) * 2,
            "cars": ((tmp_path / "less" / "audit" / "batches", {}), (other / "audit" / "batches", {})),
        }[source]
        (place, options), (again, more) = given
        (found,) = mirror(home, place, keys=keys, **options)
        assert told(found) == ("incomplete", 3, 3, 0, 1)
        assert "no payload of batches 1: " in str(found.problem)
        assert numbers(home) == [*range(10), *range(20, 30)]
        assert verified(home, other) == [("incomplete", 0, [(1, "payload")])]
        (found,) = mirror(home, place, **options)
        assert told(found) == ("incomplete", 3, 0, 0, 1)
        (found,) = mirror(home, again, **({"gateway": full.url} if more else {}))
    assert told(found) == ("ok", 3, 0, 0, 0)
    assert numbers(home) == [*range(30)]
    assert verified(home, other) == [("ok", 0, [])]


def test_the_exit_code_says_it(home, other):
    """5 as long as a payload is missing."""
    file = sample_homes.batches_of(other).file(1)
    content = file.read_bytes()
    sample_homes.strip(other, 1)
    ran = run("mirror", str(other), "--key", sample_homes.key_of(other), "-o", "text", home=home)
    assert ran.code == 5
    assert "NOT OK (incomplete); 3 batches here" in ran.out
    file.write_bytes(content)
    ran = run("mirror", str(other), "-o", "text", home=home)
    assert (ran.code, "ok: 3 here" in ran.out) == (0, True)


@pytest.mark.parametrize("source", ["home", "gateway"])
def test_a_payload_that_was_given_up_is_no_error(home, other, source):
    """An act of the log names it: it is counted, nobody is asked for it, and the copy verifies."""
    keys = [sample_homes.key_of(other)]
    payloads = {sample_homes.batches_of(other).facts(index).manifest.payload.text for index in range(2)}
    prune(other)
    sample_homes.log(other, range(30, 40))
    sample_homes.seal(other)
    with gateway(blocks_of(other)) as served:
        for new in (5, 0):
            place, options = (other, {}) if source == "home" else (sample_homes.head_of(other), {"gateway": served.url})
            (found,) = mirror(home, place, keys=keys, **options)
            assert told(found) == ("ok", 5, new, 2, 0)
        assert payloads.isdisjoint(served.asked)
    assert numbers(home) == [*range(20, 40)]
    assert verified(home, other) == [("ok", 2, [])]
    ran = run("mirror", str(other), "-o", "text", home=home)
    assert "5 here, 2 payloads pruned" in ran.out


def test_an_act_that_comes_later(home, other):
    """A payload is missing at first; then the log says that it was given up, and nothing is missing any more."""
    keys = [sample_homes.key_of(other)]
    kept = {index: sample_homes.batches_of(other).file(index).read_bytes() for index in range(3)}
    sample_homes.strip(other, 1)
    assert told(*mirror(home, other, keys=keys)) == ("incomplete", 3, 3, 0, 1)
    sample_homes.batches_of(other).file(1).write_bytes(kept[1])
    prune(other)
    assert told(*mirror(home, other)) == ("ok", 4, 1, 1, 0)
    assert numbers(home) == [*range(10), *range(20, 30)]


def test_an_act_in_the_next_log(home, other, tmp_path):
    """A log that has ended is pruned by an act in the log after it: missing first, given up when that log is here."""
    head = sample_homes.head_of(other)
    sample_homes.end(other)
    sample_homes.log(other, range(30, 40))
    sample_homes.seal(other)
    prune(other)
    keys = [sample_homes.key_of(other)]
    with gateway(blocks_of(other)) as served:
        assert told(*mirror(home, head, keys=keys, gateway=served.url)) == ("incomplete", 3, 3, 0, 2)
        assert told(*mirror(home, sample_homes.head_of(other), gateway=served.url)) == ("ok", 2, 2, 0, 0)
        assert told(*mirror(home, head, gateway=served.url)) == ("ok", 3, 0, 2, 0)
    assert {(result, pruned) for result, pruned, _ in verified(home, other)} == {("ok", 2), ("ok", 0)}
    found = mirror(tmp_path / "another", other, keys=keys)
    assert {(each.result, each.pruned) for each in found} == {("ok", 2), ("ok", 0)}


def test_a_large_archive_that_lacks_one_block(home, other, tmp_path):
    """It counts as absent, until its last block is there."""
    (tmp_path / "note").write_bytes(b"".join(number.to_bytes(4, "big") for number in range(1 << 20)))
    archives.archiver(other, "audit").put(tmp_path / "note", archives.facts)
    sample_homes.seal(other)
    keys = [sample_homes.key_of(other)]
    whole = blocks_of(other)
    lost = max(whole, key=lambda cid: (len(whole[cid]), cid.text))
    with gateway({cid: block for cid, block in whole.items() if cid != lost}) as less:
        assert told(*mirror(home, sample_homes.head_of(other), keys=keys, gateway=less.url)) == (
            "incomplete", 4, 4, 0, 1,
        )  # fmt: skip
    assert verified(home, other) == [("incomplete", 0, [(3, "payload")])]
    with gateway(whole) as full:
        assert told(*mirror(home, sample_homes.head_of(other), gateway=full.url)) == ("ok", 4, 0, 0, 0)
    assert verified(home, other) == [("ok", 0, [])]


def refusing(silent: set[Cid], manifest: Cid | None = None) -> Answer:
    """Make a gateway that fails for some blocks, and for a manifest, too, once it has failed for one of them."""
    refused: list[Cid] = []

    def answer(request, cid: Cid, _: bytes) -> bool:
        fails = cid in silent or bool(cid == manifest and refused and silent)
        if fails:
            refused.append(cid)
            request.send_error(503)
        return fails

    return answer


def test_a_source_that_fails_for_lost_payloads(home, other):
    """As long as it gives manifests, its errors hold up nothing: the payloads are missing, in this run and the next."""
    sample_homes.make(other, 50)
    batches = sample_homes.batches_of(other)
    silent = {batches.facts(index).manifest.payload for index in range(6)}
    with gateway(blocks_of(other), answer=refusing(silent)) as served:
        (found,) = mirror(home, sample_homes.head_of(other), keys=[sample_homes.key_of(other)], gateway=served.url)
        assert told(found) == ("incomplete", 8, 8, 0, 6)
        assert "no payload of batches 0-5: " in str(found.problem)
        assert "status 503" in str(found.problem)
        assert numbers(home) == [*range(30, 50)]
    sample_homes.make(other, 20)
    head = sample_homes.head_of(other)
    for stops, new in ((False, 2), (True, 0)):
        fails = refusing(silent, sample_homes.batches_of(other).facts(9).cid if stops else None)
        with gateway(blocks_of(other), answer=fails) as served:
            (found,) = mirror(home, head, gateway=served.url)
            assert told(found) == ("incomplete", 10, new, 0, 6)
            assert "status 503" in str(found.problem)
    with gateway(blocks_of(other)) as served:
        assert told(*mirror(home, head, gateway=served.url)) == ("ok", 10, 0, 0, 0)
    assert len(numbers(home)) == 100


def test_a_source_that_stops_at_old_payloads(home, other):
    """It does not answer any more when it is asked for payloads that were missing: what is new has come before."""
    silent = {sample_homes.batches_of(other).facts(index).manifest.payload for index in range(3)}
    sample_homes.make(other, 30)
    silent |= {sample_homes.batches_of(other).facts(index).manifest.payload for index in range(3, 6)}
    keys = [sample_homes.key_of(other)]
    with gateway({cid: block for cid, block in blocks_of(other).items() if cid not in silent}) as served:
        assert told(*mirror(home, sample_homes.head_of(other), keys=keys, gateway=served.url)) == (
            "incomplete", 6, 6, 0, 6,
        )  # fmt: skip
    sample_homes.make(other, 20)
    newest = sample_homes.batches_of(other).facts(7).cid
    with gateway(blocks_of(other), answer=refusing(silent, newest)) as served:
        (found,) = mirror(home, sample_homes.head_of(other), gateway=served.url)
    assert told(found) == ("incomplete", 8, 2, 0, 6)
    assert "status 503" in str(found.problem)


def test_a_source_that_stops_answering(home, tmp_path, monkeypatch):
    """After a few payloads in a row, and a manifest, without an answer, the copy stops; the next run goes on there."""
    monkeypatch.setattr(mirror_pieces, "_PIECE_BATCHES", 1)
    sample_homes.make(tmp_path / "long", 80)
    batches = sample_homes.batches_of(tmp_path / "long")
    silent = {batches.facts(index).manifest.payload for index in range(2, 8)}
    keys = [sample_homes.key_of(tmp_path / "long")]
    head = sample_homes.head_of(tmp_path / "long")
    refuse = refusing(silent, batches.facts(7).cid)

    with gateway(blocks_of(tmp_path / "long"), answer=refuse) as served:
        (found,) = mirror(home, head, keys=keys, gateway=served.url)
        assert told(found) == ("incomplete", 5, 5, 0, 3)
        assert "status 503" in str(found.problem)
        silent.clear()
        assert told(*mirror(home, head, gateway=served.url)) == ("ok", 8, 3, 0, 0)
    assert numbers(home) == [*range(80)]


def test_pins_without_payloads(home, other, tmp_path):
    """The manifest of a pruned batch is pinned alone; a missing payload is pinned when it has come."""
    store = MemoryStore.named("mirrored")
    keys = [sample_homes.key_of(other)]
    shutil.copytree(other, tmp_path / "whole")
    sample_homes.strip(other, 1)
    assert told(*mirror(home, other, keys=keys, pin=["memory:mirrored"])) == ("incomplete", 3, 3, 0, 1)
    manifests = [sample_homes.batches_of(other).facts(index).cid for index in range(3)]
    assert [cid in store.pins for cid in manifests] == [True, False, True]
    assert told(*mirror(home, tmp_path / "whole", pin=["memory:mirrored"])) == ("ok", 3, 0, 0, 0)
    assert [cid in store.pins for cid in manifests] == [True, True, True]
    sample_homes.batches_of(other).file(1).write_bytes(sample_homes.batches_of(tmp_path / "whole").file(1).read_bytes())
    prune(other)
    fresh = tmp_path / "fresh"
    assert told(*mirror(fresh, other, keys=keys, pin=["memory:alone"])) == ("ok", 4, 4, 2, 0)
    alone = MemoryStore.named("alone")
    assert [cid in alone.alone for cid in manifests] == [True, True, False]
    assert [cid in alone.pins for cid in manifests] == [False, False, True]
    MemoryStore.forget()


class WholeOnly:
    """A store that is no `BlockKeeper`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        if name == "keep_alone":
            raise AttributeError(name)
        return getattr(self._store, name)


def test_pins_at_a_store_that_cannot_keep_a_manifest_alone(home, other, monkeypatch):
    """The batches whose payload was given up are set aside there, with the reason; the others are pinned."""
    store = MemoryStore.named("whole")
    monkeypatch.setattr(mirror_pins, "open_store", lambda *_, **__: WholeOnly(store))
    prune(other)
    for new in (4, 0):
        found = mirror(home, other, keys=[sample_homes.key_of(other)], pin=["memory:whole"])
        assert told(*found) == ("ok", 4, new, 2, 0)
        (target,) = mirrored_logs(HomeDir(home))
        state = delivery_state.load(target.shipped, store.name, target.log, store.address)
        assert [(aside.index, aside.reason) for aside in state.aside] == [
            (0, "its payload was given up"),
            (1, "its payload was given up"),
        ]
        assert [state.has(index) for index in range(4)] == [False, False, True, True]
    MemoryStore.forget()


@pytest.mark.slow
def test_a_kill_while_a_payload_comes(other, tmp_path):
    """Killed at calls that change the disk: what is there is as it was signed, and the next run completes it."""
    keys = [sample_homes.key_of(other)]
    shutil.copytree(other, tmp_path / "less")
    sample_homes.strip(tmp_path / "less", 1)
    mirror(tmp_path / "start", tmp_path / "less", keys=keys)

    def work(home: Path, number: int) -> None:
        kill_steps.kill_at(number)
        mirror(home, other)

    number, ended = 1, False
    while not ended:
        home = tmp_path / f"killed{number}"
        shutil.copytree(tmp_path / "start", home)
        ended = forked.run_in_child(work, home, number)
        assert verified(home, other) in ([("incomplete", 0, [(1, "payload")])], [("ok", 0, [])])
        assert told(*mirror(home, other))[0] == "ok"
        assert numbers(home) == [*range(30)]
        assert verified(home, other) == [("ok", 0, [])]
        shutil.rmtree(home)
        number += 3
    assert number > 15


@pytest.mark.slow
def test_a_kill_while_a_piece_without_a_payload_is_written(other, tmp_path):
    """What the killed run has noted of a piece does not count when the next run gets all payloads of the piece."""
    keys = [sample_homes.key_of(other)]
    shutil.copytree(other, tmp_path / "less")
    sample_homes.strip(tmp_path / "less", 1)

    def work(home: Path, number: int) -> None:
        kill_steps.kill_at(number)
        mirror(home, tmp_path / "less", keys=keys)

    number, ended, noted = 1, False, 0
    while not ended:
        home = tmp_path / f"killed{number}"
        ended = forked.run_in_child(work, home, number)
        noted += any(home.glob("imported-logs/*/absent")) and not any(home.glob("imported-logs/*/*-*.car"))
        assert told(*mirror(home, other, keys=keys))[0::4] == ("ok", 0)
        assert numbers(home) == [*range(30)]
        shutil.rmtree(home)
        number += 3
    assert noted


class TestFile:
    """The file that names the absent payloads."""

    def test_it_keeps_runs(self, home):
        """What was noted is read again; a batch that was given up is not missing."""
        target = MirroredDir(home / "log")
        target.path.mkdir(parents=True)
        AbsentPayloads.of([1, 2, 3, 9], [3, 4, 6]).store(target)
        found = AbsentPayloads.load(target)
        assert (found.pruned, found.missing) == (((1, 3), (9, 9)), ((4, 4), (6, 6)))
        assert (list(found.all_missing(5)), found.pruned_count, found.missing_count) == ([4], 4, 2)

    @pytest.mark.parametrize("data", [b"", b"\xff", b"pruned\n", b"pruned 2-1\nmissing 5-4\n", b"pruned\nmissing 1\n"])
    def test_a_damaged_one_names_nothing(self, home, data):
        """Readers report a payload that is missing all the same."""
        target = MirroredDir(home / "log")
        target.path.mkdir(parents=True)
        (target.path / "absent").write_bytes(data)
        assert AbsentPayloads.load(target) == AbsentPayloads()


def test_a_lost_file_loses_nothing(home, other):
    """Without the file, a reader and `verify` name the payload."""
    sample_homes.strip(other, 1)
    mirror(home, other, keys=[sample_homes.key_of(other)])
    (target,) = mirrored_logs(HomeDir(home))
    (target.path / "absent").unlink()
    assert numbers(home) == [*range(10), *range(20, 30)]
    assert verified(home, other) == [("incomplete", 0, [(1, "payload")])]


@pytest.mark.slow
@pytest.mark.parametrize("data", [None, b"pruned 2-1\nmissing \xff\n"])
@pytest.mark.parametrize("store", ["memory:again", None])
def test_a_lost_or_damaged_file_is_made_again(home, other, tmp_path, data, store):
    """The next run finds in the pieces which payloads are missing, and by the acts which of them were given up."""
    keys = [sample_homes.key_of(other)]
    shutil.copytree(other, tmp_path / "less")
    sample_homes.strip(tmp_path / "less", 1)
    pin = {"pin": [store]} if store else {}

    def lose() -> None:
        (target,) = mirrored_logs(HomeDir(home))
        file = target.path / "absent"
        file.unlink() if data is None else file.write_bytes(data)

    mirror(home, tmp_path / "less", keys=keys)
    lose()
    assert told(*mirror(home, tmp_path / "less", **pin)) == ("incomplete", 3, 0, 0, 1)
    lose()
    prune(other)
    assert told(*mirror(home, other, **pin)) == ("ok", 4, 1, 1, 0)
    lose()
    assert told(*mirror(home, other, **pin)) == ("ok", 4, 0, 1, 0)
    MemoryStore.forget()
