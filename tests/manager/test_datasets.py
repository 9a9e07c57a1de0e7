"""The manager's contract, driven by stand-ins that behave as the classes that call it do."""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.reader import archive_content
from ipfs_log_handlers.reader import archives as reading
from ipfs_log_handlers.testing import FakeDaemon
from tests.support import file_trees, programs, sample_homes
from tests.support.archives import managing, sealed, verified, waiting
from tests.support.logging_home import refuse
from tests.support.machine import assert_in_time


@pytest.fixture
def manager(home):
    """Make a manager whose home has no keeper."""
    with managing(home) as made:
        yield made


def stored(home: Path) -> list[tuple[str, bytes]]:
    """Subsystem and bytes of every archive of one block, oldest first."""
    found = []
    for version in reading.versions(HomeDir(home)):
        with archive_content.opened(version) as get:
            found.append((version.subsystem, get(version.root)))
    return found


class TempFileClass:
    """As audit, logs, health and telemetry do: a temporary file, stored under a lock, deleted as soon as it returns."""

    def __init__(self, manager: DatasetsManager, kind: str) -> None:
        self.lock = threading.Lock()
        self.manager = manager
        self.kind = kind
        self.on = bool(manager) and manager.is_available()

    def full(self, records: list[dict[str, Any]]) -> bool:
        """Store one batch; whether the class takes it for stored."""
        with self.lock:
            descriptor, path = tempfile.mkstemp(suffix=".json")
            try:
                with os.fdopen(descriptor, "w") as file:
                    json.dump(records, file)
                result = self.manager.store(path, metadata={"type": self.kind, "event_count": len(records)})
            finally:
                os.unlink(path)
            return result.get("success") is True and not result.get("error")


class BytesClass:
    """As lifecycle and replication do: bytes, and the batch is kept and tried again with each record until it is."""

    def __init__(self, manager: DatasetsManager, kind: str) -> None:
        self.manager = manager
        self.kind = kind
        self.pending: list[dict[str, Any]] = []
        self.calls = 0

    def record(self, number: int) -> None:
        """Take one record; ten make a batch."""
        self.pending.append({"number": number, "timestamp": time.time()})
        if len(self.pending) >= 10:
            self.calls += 1
            data = json.dumps(self.pending).encode()
            metadata = {"type": self.kind, "operation_count": len(self.pending), "timestamp": time.time()}
            if self.manager.store(data=data, metadata=metadata).get("success"):
                self.pending = []


def test_is_there(manager):
    """It is truthy and available, whatever a daemon does, and its flag is its own."""
    assert bool(manager)
    assert manager.is_available() is True


def test_answer_is_exactly_as_promised(manager, tmp_path):
    """`store` answers with these keys, True itself, and nothing that JSON cannot hold."""
    path = tmp_path / "f.json"
    path.write_bytes(b"{}")
    by_path = manager.store(str(path), metadata={"type": "logs", "timestamp": "2026-01-01T00:00:00"})
    positional = manager.store(path, {"a": 1})
    none = manager.store(path, None)
    by_bytes = manager.store(data=b"{}", metadata={"type": "lifecycle_operations", "timestamp": 1.5})

    cid = "bafkreicecnx2gvntm6fbcrvnc336qze6st5u7qq7457igegamd3bzkx7ri"
    assert by_path == {
        "success": True,
        "cid": cid,
        "local_path": str(path),
        "metadata": {"type": "logs", "timestamp": "2026-01-01T00:00:00"},
        "distributed": True,
    }
    assert ({"a": 1}, {}) == (positional["metadata"], none["metadata"])
    assert (None, cid) == (by_bytes["local_path"], by_bytes["cid"])
    json.dumps([by_path, positional, none, by_bytes])


def test_final_cid_at_once(home, kubo, tmp_path):
    """The CID that `store` gives before anything is sent is the one under which Kubo has it afterwards."""
    data = os.urandom(2_500_000)
    with managing(home, kubo=kubo.url) as manager:
        cid = manager.store(data=data)["cid"]
        tree = manager.store(file_trees.on_disk(tmp_path / "tree", file_trees.NESTED))["cid"]
    sample_homes.ship(home, kubo.url)

    assert data == kubo.cli_bytes("cat", cid)
    kubo.cli("get", "-o", str(tmp_path / "back"), tree)
    assert file_trees.read(tmp_path / "tree") == file_trees.read(tmp_path / "back")


@pytest.mark.parametrize(
    ("kind", "subsystem"),
    [
        ("audit_log", "audit"), ("logs", "logs"), ("wal_partition", "wal"), ("wal_archive", "wal"),
        ("wal_telemetry", "telemetry"), ("health_check_results", "health"),
        ("fs_journal_monitor_stats", "fs_monitor"), ("fs_replication_operations", "fs_replication"),
        ("lifecycle_operations", "lifecycle"), ("data_lifecycle_events", "data_lifecycle"),
        ("../../etc", "logs"), (None, "logs"), (7, "logs"), (["x"], "logs"),
    ],
)  # fmt: skip
def test_type_chooses_the_subsystem(home, manager, kind, subsystem):
    """Each class's type goes into the log of its subsystem; anything else into `logs`."""
    assert manager.store(data=b"x", metadata={"type": kind})["success"] is True

    assert [(subsystem, b"x")] == stored(home)
    sample_homes.seal(home)
    expected = kind if isinstance(kind, str) else "logs"
    assert [expected] == [each["meta"]["type"] for each in sealed(home, subsystem)]


def test_path_deleted_right_after(home, manager):
    """A file may be deleted, or changed, as soon as `store` has returned."""
    one = TempFileClass(manager, "audit_log")
    assert all(one.full([{"n": number}]) for number in range(5))

    assert [("audit", b'[{"n": %d}]' % number) for number in range(5)] == stored(home)


def test_bytes_are_kept_once(home, manager):
    """A class that keeps its batch until it is told of success makes one call for each batch of ten."""
    one = BytesClass(manager, "data_lifecycle_events")
    for number in range(30):
        one.record(number)

    assert (3, []) == (one.calls, one.pending)
    numbers = [each["number"] for _, data in stored(home) for each in json.loads(data)]
    assert list(range(30)) == numbers


def test_failure_is_told_and_leaves_nothing(home, manager, monkeypatch):
    """While the disk refuses, each call says so, nothing is left behind, and afterwards all goes on."""
    one, two = TempFileClass(manager, "audit_log"), BytesClass(manager, "lifecycle_operations")
    with monkeypatch.context() as patch:
        refuse(patch, "fdatasync", OSError(28, "No space left on device"))
        answer = manager.store(data=b"x")
        assert answer.keys() == {"success", "error"}
        assert (False, True) == (answer["success"], "No space" in answer["error"])
        assert not one.full([{"n": 1}])
        for number in range(15):
            two.record(number)
        assert 6 == two.calls
    assert [] == stored(home)
    two.record(15)

    assert one.full([{"n": 2}])
    assert [("lifecycle", 16), ("audit", 1)] == [(name, len(json.loads(data))) for name, data in stored(home)]


@pytest.mark.parametrize(
    "call",
    [
        {}, {"path": "/nowhere/at/all"}, {"path": "x", "data": b"y"}, {"path": "nul\0"}, {"path": 7},
        {"data": 5}, {"data": []},
        {"data": 3.5}, {"data": b"x", "metadata": {"deep": "x" * 10_000}}, {"data": b"x", "metadata": "no map"},
        {"data": b"x", "subsystem": "no_such"}, {"path": "/dev/null"}, {"data": b"x", "metadata": {1: {2: {3}}}},
    ],
)  # fmt: skip
def test_never_raises(home, manager, call):
    """Whatever it is called with, it answers, with a reason where it could not."""
    answer = manager.store(**call)

    json.dumps(answer)
    assert answer["success"] is True or answer["error"]
    assert not answer["success"] or isinstance(call["data"], bytes)
    assert len(stored(home) if home.exists() else []) == int(answer["success"])
    assert manager.load("nothing")["success"] is False
    assert manager.version("a", "1", None, 5)["success"] is False


def test_metadata_that_is_no_mapping(home, manager):
    """Metadata of another kind is refused in words, by `store` and by `version`."""
    told = {"success": False, "error": "metadata takes a mapping, found 5"}
    assert told == manager.store(data=b"x", metadata=5)
    assert told == manager.version("n", "1", metadata=5)
    assert not home.exists()


def test_concurrent_calls(home, manager):
    """Calls of many threads at once lose nothing and mix nothing up."""
    answers: dict[str, bytes] = {}

    def work(name: int) -> None:
        chance = random.Random(name)
        for number in range(10):
            data = b"%d-%d-" % (name, number) + chance.randbytes(chance.randrange(100))
            answers[manager.store(data=data, metadata={"type": "audit_log"})["cid"]] = data

    threads = [threading.Thread(target=work, args=(name,)) for name in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    sample_homes.seal(home)

    assert len(answers) == 120
    assert sorted(answers.values()) == sorted(data for _, data in stored(home))
    assert sorted(answers) == sorted(str(each["payload"]) for each in sealed(home, "audit"))


def test_fork_goes_on_storing(home):
    """A child of a program that has stored goes on by itself, and nothing of either is lost."""
    body = """
        from ipfs_log_handlers.manager import DatasetsManager
        m = DatasetsManager(home=HOME)
        assert m.store(data=b"parent")["success"]
        pid = os.fork()
        if pid == 0:
            assert m.store(data=b"child")["success"]
            assert m.flush(20)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert m.store(data=b"after")["success"]
        assert m.flush(20)
    """
    programs.run(home, body, options=("-W", "ignore::DeprecationWarning")).clean()

    assert {b"parent", b"child", b"after"} == {data for _, data in stored(home)}
    assert [] == waiting(home)
    assert 0 == verified(home)


class TestDaemon:
    """A daemon that is down costs time and nothing else."""

    def test_down_and_back(self, home):
        """While nobody listens `store` succeeds; what waited is delivered by the same process when somebody does."""
        with FakeDaemon() as daemon:
            url = daemon.url
        with managing(home, keeper="thread", kubo=url, flush_timeout=0.1) as manager:
            begun = time.monotonic()
            cids = [manager.store(data=b"%d" % number)["cid"] for number in range(20)]
            assert_in_time(time.monotonic() - begun, 10)
            assert not manager.flush(0.2)
        assert 20 == len(stored(home))
        with FakeDaemon() as daemon:
            sample_homes.ship(home, daemon.url)
            there = {cid.text for cid in daemon.store.blocks}
        assert set(cids) <= there

    def test_end_of_a_program_ships(self, home):
        """A program that stores and ends, without a word to the manager, has shipped by then."""
        with FakeDaemon() as daemon:
            body = """
                from ipfs_log_handlers import manager
                manager.configure(home=HOME, kubo=KUBO, flush_timeout=60.0)
                print(manager.get_ipfs_datasets_manager().store(data=b"x")["cid"])
            """
            cid = programs.run(home, body, KUBO=daemon.url).clean().out.strip()
            assert cid in {each.text for each in daemon.store.blocks}
        assert {"shipped"} == {each.state for each in reading.versions(HomeDir(home))}


class TestLoad:
    """What was stored comes back the same, from wherever it is."""

    @pytest.mark.parametrize("moment", ["waiting", "sealed", "stripped"])
    def test_same_bytes(self, home, kubo, tmp_path, moment):
        """A file and a directory come back with the same bytes and metadata: from the spool, the chain, a store."""
        path = file_trees.on_disk(tmp_path / "tree", file_trees.NESTED)
        data = os.urandom(2_000_000)
        with managing(home, kubo=kubo.url) as manager:
            tree = manager.store(path, {"what": "tree"})
            file = manager.store(data=data, metadata={"what": "file"})
            if moment != "waiting":
                sample_homes.ship(home, kubo.url)
            if moment == "stripped":
                sample_homes.strip(home, 0, "logs")
                sample_homes.strip(home, 1, "logs")
            found = manager.load(tree["cid"], tmp_path / "back")
            assert found == {
                "success": True,
                "path": str(tmp_path / "back"),
                "metadata": {"what": "tree"},
                "distributed": True,
            }
            assert file_trees.read(path) == file_trees.read(tmp_path / "back")
            found = manager.load(f"/ipfs/{file['cid']}")
            assert data == Path(found["path"]).read_bytes()
            assert {"what": "file"} == found["metadata"]
            assert manager.load("tree", str(tmp_path))["error"].endswith("exists already")

    def test_from_a_store_alone(self, home, tmp_path):
        """What this home never had comes from the configured store, by its CID."""
        other = home.with_name("other")
        with FakeDaemon() as daemon:
            with managing(other) as there:
                cid = there.store(data=b"elsewhere")["cid"]
            sample_homes.ship(other, daemon.url)
            with managing(home, kubo=daemon.url) as manager:
                assert b"elsewhere" == Path(manager.load(cid, tmp_path / "f")["path"]).read_bytes()
                assert (
                    "could not find"
                    in manager.load("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")["error"]
                )

    def test_damage_is_not_given_out(self, home, manager, tmp_path, monkeypatch):
        """Bytes that are not what was stored are refused; nothing is left at the target, nor a directory of its own."""
        cid = manager.store(data=os.urandom(3 << 20))["cid"]
        [path] = (home / "logs" / "archived").glob("*.car")
        content = bytearray(path.read_bytes())
        content[2_000_000] ^= 1
        path.write_bytes(content)

        assert "hash" in manager.load(cid, tmp_path / "back")["error"]
        monkeypatch.setattr(tempfile, "tempdir", os.fspath(tmp_path))
        before = sorted(tmp_path.iterdir())
        assert "hash" in manager.load(cid)["error"]
        assert before == sorted(tmp_path.iterdir())
        assert not [each for each in os.listdir(tmp_path) if "back" in each]

    def test_while_the_keeper_takes_it(self, home):
        """An archive is found at every moment of its way into the chain."""
        with managing(home, keeper="thread") as manager:
            for number in range(30):
                cid = manager.store(data=b"%d" % number)["cid"]
                if number == 5:
                    assert manager.flush(20)
                answer = manager.load(cid)
                assert b"%d" % number == Path(answer["path"]).read_bytes()


class TestVersions:
    """Versions form a lineage that stands in the chain."""

    def test_lineage(self, home, manager, tmp_path):
        """`version` says what was made of what, without copying a byte; it is recorded where nobody can change it."""
        cid = manager.store(data=b"rows", metadata={"name": "table"})["cid"]
        first = manager.version(dataset_id="table", version="1.0")
        second = manager.version(
            dataset_id="table", version="1.1", parent_version="1.0", transformations=["dedup", {"sort": "id"}]
        )
        sample_homes.seal(home)

        assert first.items() >= {"success": True, "version": "1.0", "cid": cid, "distributed": True}.items()
        assert second["metadata"]["parent_version"] == "1.0"
        metas = [each["meta"] for each in sealed(home)]
        assert ["1.0", "1.0", "1.1"] == [meta["version"] for meta in metas]
        assert (cid, ["dedup", {"sort": "id"}]) == (metas[2]["parent"], metas[2]["transformations"])
        assert ["1.0", "1.1"] == [each["version"] for each in manager.get_provenance_log()]
        assert 0 == verified(home)

    def test_version_of_what_was_never_stored(self, home, manager):
        """Of a dataset that is not here the version is the statement itself."""
        answer = manager.version(dataset_id="foreign", version="3", parent_version="2")

        assert answer["success"] is True
        [(_, data)] = stored(home)
        assert {"dataset_id": "foreign", "version": "3", "parent_version": "2", "transformations": []} == json.loads(
            data
        )

    def test_version_of_what_has_left(self, home, tmp_path):
        """Of a dataset whose bytes have left the home a version can be made all the same: they come from the store."""
        with FakeDaemon() as daemon, managing(home, kubo=daemon.url) as manager:
            cid = manager.store(data=b"x" * 5000, metadata={"name": "n"})["cid"]
            sample_homes.ship(home, daemon.url)
            sample_homes.strip(home, 0, "logs")
            assert cid == manager.version(dataset_id=cid, version="2")["cid"]


def test_logs_of_what_was_done(manager, tmp_path):
    """The event log tells each store and load with its outcome; the logs are the caller's own copies."""
    cid = manager.store(data=b"x")["cid"]
    manager.store("/nowhere")
    manager.load(cid, tmp_path / "f")
    manager.version("n", "1")
    events = manager.get_event_log()

    assert [
        {"operation": "store", "path": None, "success": True, "cid": cid},
        {"operation": "store", "path": "/nowhere", "success": False, "cid": None},
        {"operation": "load", "identifier": cid, "success": True, "cid": None},
    ] == [{key: value for key, value in each.items() if key != "timestamp"} for each in events]
    [told] = manager.get_provenance_log()
    assert told.keys() == {"dataset_id", "version", "parent_version", "transformations", "timestamp", "cid"}
    json.dumps([events, told])
    events.clear()
    assert 3 == len(manager.get_event_log())
