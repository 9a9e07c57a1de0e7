"""A disk that is really full: shipped payloads go first, then the stated policy, and it passes by itself."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing import FakeKubo
from tests.support import oracle, programs
from tests.support.small_disks import simulated_disk, small_disk

MIB = 1 << 20
TOOLS = """
    import base64
    from pathlib import Path
    HOME = str(Path(DISK) / "home")
    filler = Path(DISK) / "filler"

    def noise(size): return base64.b85encode(os.urandom(size * 4 // 5)).decode()

    def fill():
        with open(filler, "ab", buffering=0) as file:
            for size in (1 << 16, 4096):
                try:
                    while file.write(bytes(size)) == size: pass
                except OSError: pass

    def until(holds, deadline_s=30.0):
        end = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < end, "what was waited for did not happen"
            time.sleep(0.02)

    def state():
        [one] = logging.getLogger().handlers
        [found] = one.status()
        return found
"""
DISKS = pytest.mark.parametrize("disk", [small_disk, simulated_disk])


def run(disk_env: dict[str, str], tmp_path: Path, body: str, **names: Any) -> dict[str, Any]:
    """Run a program on the disk; what it printed last."""
    ended = programs.run(
        tmp_path / "home",
        textwrap.dedent(TOOLS) + textwrap.dedent(body),
        env=disk_env,
        DISK=str(tmp_path / "disk"),
        deadline_s=120,
        **names,
    ).clean_but_for_losses()
    told: dict[str, Any] = json.loads(ended.out.splitlines()[-1])
    return told


def test_shipped_payloads_go_first(tmp_path):
    """More is logged than the disk holds, and shipped: payloads that a store has make room, and nothing is dropped."""
    body = """
        configure(kubo=KUBO, when_full="block", flush_timeout=30.0, batch={"records": 100, "seconds": 0.1},
                  max_spool_bytes=4 << 20)
        for i in range(COUNT): log.info("r%d", i, extra={"noise": noise(8000)})
        logging.getLogger().handlers[0].flush()
        fill()  # nothing waits to be sealed now: a full disk must be seen all the same
        for i in range(COUNT, COUNT + 200): log.info("r%d", i, extra={"noise": noise(8000)})
        logging.shutdown()
        logging.getLogger().handlers[0].close()
        print(json.dumps(state()))
    """
    count = 1200
    with small_disk(tmp_path / "disk", 10 * MIB) as env, FakeKubo() as daemon:
        told = run(env, tmp_path, body, KUBO=daemon.url, COUNT=count)
        home = tmp_path / "disk" / "home"
        [log] = oracle.read_home(home)["logs"]
        there = {cid.text: block for cid, block in daemon.store.blocks.items()}
    assert {} == told["dropped"]
    gone = [batch for batch in log.batches if batch.lines is None]
    assert gone
    for batch in gone:
        batch.lines = oracle._payload(batch.manifest, {}, there.__getitem__)
    assert [f"r{i}" for i in range(count + 200)] == [record["event"] for record in log.records]


@DISKS
def test_then_what_is_new_is_dropped(tmp_path, disk):
    """With no store in reach: what was logged is sealed from the reserve, new records are counted, then kept again."""
    body = """
        configure(when_full="drop_new", batch={"records": 50, "seconds": 0.05}, flush_timeout=10.0)
        log.info("r0")
        until((Path(HOME) / "reserve").exists)
        fill()
        kept, count = ["r0"], 1
        def note():
            global count
            before = sum(state()["dropped"].values())
            log.info("r%d", count, extra={"noise": noise(4000)})
            if sum(state()["dropped"].values()) == before: kept.append("r%d" % count)
            count += 1
        while not state()["dropped"]: note()
        until(lambda: state()["sealed"] >= len(kept))
        gave_up = not (Path(HOME) / "reserve").stat().st_size
        for _ in range(20): note()
        filler.unlink()
        last = len(kept)
        def again():
            note(); time.sleep(0.05)
            return len(kept) > last + 5
        until(again)
        logging.getLogger().handlers[0].flush()
        found = state()
        logging.shutdown()
        print(json.dumps({"kept": kept, "count": count, "dropped": found["dropped"], "gave_up": gave_up}))
    """
    with disk(tmp_path / "disk", 12 * MIB) as env:
        told = run(env, tmp_path, body)
        home = tmp_path / "disk" / "home"
        run_keeper_now(HomeDir(home), Standalone(), timeout=20.0)
        [log] = oracle.read_home(home)["logs"]
    assert told["kept"] == [record["event"] for record in log.records]
    dropped: dict[str, int] = {}
    for batch in log.batches:
        for reason, count in batch.manifest["dropped"].items():
            dropped[reason] = dropped.get(reason, 0) + count
    assert told["dropped"] == dropped
    assert {"ENOSPC"} == set(dropped)
    assert told["count"] == len(log.records) + dropped["ENOSPC"]
    assert told["gave_up"]


@DISKS
def test_a_record_that_may_wait_is_kept(tmp_path, disk):
    """`when_full="block"`, for audit: a call waits until there is room; past `flush_timeout` it is dropped, counted."""
    body = """
        configure(when_full="block", keeper="none", flush_timeout=0.4)
        log.info("r0")
        fill()
        begun = time.monotonic()
        while not state()["dropped"]: log.info("lost", extra={"noise": noise(4000)})
        waited = time.monotonic() - begun
        [one] = logging.getLogger().handlers
        one.close()
        configure(when_full="block", keeper="none", flush_timeout=30.0)
        timer = threading.Timer(0.5, filler.unlink)
        timer.start()
        begun = time.monotonic()
        log.info("r1", extra={"noise": noise(8000)})
        timer.join()
        print(json.dumps({"waited": waited, "dropped": state()["dropped"], "blocked": time.monotonic() - begun}))
        logging.shutdown()
    """
    with disk(tmp_path / "disk", 1 * MIB) as env:
        told = run(env, tmp_path, body)
        events = [record["event"] for record in oracle.spooled(tmp_path / "disk" / "home")]
    assert {"r0", "r1"} <= set(events)
    assert {"ENOSPC": 1} == told["dropped"]
    assert 0.4 <= told["waited"]


@DISKS
def test_the_reserve_is_real(tmp_path, disk):
    """On a disk that is full, giving the reserve up makes room for as many bytes."""
    body = """
        from ipfs_log_handlers.home import disk, reserve, volume
        at = Path(DISK)
        assert reserve.make(at / "reserve")
        fill()
        try: disk.write_new(at / "batch", [bytes(4096)]); fits = True
        except OSError as error: fits = error.errno not in disk.NO_ROOM
        assert not fits and not (at / "batch").exists()
        assert reserve.give_up(at / "reserve")
        size = reserve.wanted_bytes(at / "reserve")
        assert size == disk.write_new(at / "batch", [bytes(size)])
        print(json.dumps({"left": volume.free_bytes(at)}))
    """
    with disk(tmp_path / "disk", 12 * MIB) as env:
        told = run(env, tmp_path, body)
    assert told["left"] < 4 * MIB


@DISKS
def test_the_writer_alone(tmp_path, disk):
    """Each of 2000 records is durable or counted, on a disk that holds few of them; it recovers by itself."""
    body = """
        configure(keeper="none")
        for number in range(2000): log.info("r%d", number, extra={"noise": "x" * 300})
        full = state()
        for path in sorted((Path(HOME) / "logs" / "spool").glob("*.seg"))[:1]: path.unlink()
        [one] = logging.getLogger().handlers
        one._recorder.home.check_segments()
        def again():
            before = state()["durable"]
            log.info("again")
            return state()["durable"] > before
        until(again)
        print(json.dumps({"durable": full["durable"], "dropped": full["dropped"]}))
    """
    with disk(tmp_path / "disk", 256 << 10) as env:
        told = run(env, tmp_path, body)
    assert {"ENOSPC"} == set(told["dropped"])
    assert 2000 == told["durable"] + told["dropped"]["ENOSPC"]
