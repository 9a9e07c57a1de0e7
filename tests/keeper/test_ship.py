"""From `logger.info()` to a pinned batch, on real daemons: everything arrives, exactly once, in order, as computed."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.keeper.host import Standalone
from ipfs_log_handlers.keeper.thread import run_keeper_now
from ipfs_log_handlers.testing import FakeKubo, Response
from tests.kubo.daemon import Daemon
from tests.support import oracle, programs
from tests.support.daemon_contents import LOG_MANY, delivered, manifests
from tests.support.machine import assert_in_time


def ship_now(home: Path, *, timeout: float = 60.0) -> None:
    """Seal and ship, as `ipfs-logs ship` does."""
    assert run_keeper_now(HomeDir(home), Standalone(), timeout=timeout)


def zstd_d(raw: bytes) -> bytes:
    """Return what `zstd -d` prints, or, on a machine without it, what the decoder of Python gives."""
    if shutil.which("zstd") is None:
        return oracle.inflate(raw)
    return subprocess.run(["zstd", "-d", "-q"], input=raw, capture_output=True, check=True).stdout


# -- what a user sees


def test_the_daemon_alone_gives_back_what_was_logged(home, kubo):
    """`ipfs cat <manifest>/payload | zstd -d` prints exactly the records; pinned, readable, as computed here."""
    programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=250, FIRST=0).clean()
    [log] = oracle.read_home(home)["logs"]

    printed = []
    for batch in log.batches:
        raw = kubo.cli_bytes("cat", f"{batch.cid}/payload")
        printed += [json.loads(line) for line in zstd_d(raw).splitlines()]
        assert raw == kubo.cli_bytes("block", "get", batch.manifest["payload"])
        seen = json.loads(kubo.cli("dag", "get", batch.cid))
        assert {"/": batch.manifest["payload"]} == seen["payload"]
        assert (batch.manifest["records"], batch.manifest["prev"]) == (seen["records"], seen["prev"])
        assert "recursive" in kubo.cli("pin", "ls", "--type=recursive", batch.cid)

    assert [f"r{i}" for i in range(250)] == [record["event"] for record in printed]
    assert all({"deep": [i, None, True]} == record["nested"] for i, record in enumerate(printed))
    assert [100, 100, 50] == [batch.manifest["records"] for batch in log.batches]


def test_a_head_cid_is_all_that_a_reader_needs(home, kubo):
    """From the head CID the whole chain is found on the daemon; its note is signed by the key of the home."""
    programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=120, FIRST=0).clean()

    assert [f"r{i}" for i in range(120)] == [record["event"] for record in delivered(kubo, home)]


def test_only_the_newest_head_is_pinned(home, kubo):
    """Each call pins the newest head block; the one before is unpinned, the manifests stay."""
    for turn in range(3):
        programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=10, FIRST=10 * turn).clean()
    [log] = oracle.read_home(home)["logs"]

    pins = kubo.pins()

    assert [False, False, True] == [batch.head_cid in pins for batch in log.batches]
    assert all(batch.cid in pins for batch in log.batches)


def test_an_archive_of_megabytes_arrives_as_one_file(home, kubo):
    """Records that do not compress make a payload above 1 MiB: a UnixFS file whose CID is the one computed here."""
    body = """
        configure(kubo=KUBO, flush_timeout=30.0, batch={"records": 4000, "bytes": 8 << 20, "seconds": 60})
        for i in range(3): log.info("r%d", i, extra={"noise": os.urandom(1 << 20).hex()})
    """
    programs.run(home, body, KUBO=kubo.url).clean()

    assert [f"r{i}" for i in range(3)] == [record["event"] for record in delivered(kubo, home)]


# -- the daemon goes and comes


def test_a_daemon_that_was_down_gets_everything_at_the_next_start(home, kubo_daemon):
    """Three runs while the daemon is down, one when it is there: each record arrives once, in order."""
    daemon = kubo_daemon()
    daemon.stop()
    for turn in range(3):
        programs.run(home, LOG_MANY, KUBO=daemon.url, COUNT=130, FIRST=130 * turn).clean()
    assert {} == {cid: pin for cid, pin in _pins_if_up(daemon).items() if cid in manifests(home)}

    daemon.start()
    programs.run(home, LOG_MANY, KUBO=daemon.url, COUNT=1, FIRST=390).clean()

    assert [f"r{i}" for i in range(391)] == [record["event"] for record in delivered(daemon, home)]


def test_shipping_without_the_program_delivers_what_is_left(home, kubo_daemon):
    """A program is killed while the daemon is down; whoever keeps the home later seals and ships its records."""
    daemon = kubo_daemon()
    daemon.stop()
    body = """
        configure(kubo=KUBO)
        for i in range(150): log.info("r%d", i)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert -9 == programs.run(home, body, KUBO=daemon.url).code

    daemon.start()
    ship_now(home)

    assert [f"r{i}" for i in range(150)] == [record["event"] for record in delivered(daemon, home)]


def _pins_if_up(daemon: Daemon) -> dict[str, str]:
    return daemon.pins() if daemon.running else {}


FOUR_BY_EIGHT = """
    import multiprocessing
    def work(number):
        if METHOD == "spawn" or number < 0: configure_here()
        def one(thread):
            for i in range(1000 // 32 + (thread < 1000 % 32 // 4)):
                log.info("record", extra={"worker": number, "lane": thread, "i": i})
        threads = [threading.Thread(target=one, args=(n,)) for n in range(8)]
        for each in threads: each.start()
        for each in threads: each.join()
    def configure_here():
        configure(kubo=KUBO, flush_timeout=30.0, batch={"records": 50, "seconds": 0.2})
    if __name__ == "__main__":
        configure_here()
        log.info("parent")
        context = multiprocessing.get_context(METHOD)
        processes = [context.Process(target=work, args=(n,)) for n in range(4)]
        for each in processes: each.start()
        for each in processes: each.join()
        assert [0] * 4 == [each.exitcode for each in processes]
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_eight_threads_in_four_processes(home, kubo, method):
    """1,000 records from 8 threads of each of 4 processes on one home arrive exactly once, each lane in its order."""
    ended = programs.run(home, FOUR_BY_EIGHT, KUBO=kubo.host_url, METHOD=method, options=("-W", "ignore"))
    ended.clean()

    check_lanes(delivered(kubo, home))
    assert_in_time(ended.seconds, 30.0)


def check_lanes(records: list[dict]) -> None:
    """Every record of `FOUR_BY_EIGHT` is there once; each thread's in its order, each process's by `seq`."""
    own = [record for record in records if record["event"] == "record"]
    wanted = [(n, t, i) for n in range(4) for t in range(8) for i in range(31 + (t < 2))]
    oracle.exactly_once(wanted, [(record["worker"], record["lane"], record["i"]) for record in own])
    lanes, processes = defaultdict(list), defaultdict(list)
    for record in own:
        lanes[record["worker"], record["lane"]].append(record["i"])
        processes[record["_writer"]].append(record["seq"])
    assert all(lane == sorted(lane) for lane in lanes.values())
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in processes.values())


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_the_daemon_goes_and_comes_during_the_run(home, kubo_daemon, how):
    """Stopped or killed and started again while records flow: each arrives once, and the chain there is whole."""
    daemon = kubo_daemon()
    body = """
        configure(kubo=KUBO, flush_timeout=60.0, batch={"records": 40, "seconds": 0.1})
        for line in sys.stdin:
            for i in range(300): log.info("%s-%d", line.strip(), i)
            print("done", flush=True)
    """
    process = programs.start(home, body, KUBO=daemon.url)
    asked, told = process.stdin, process.stdout
    assert asked is not None
    assert told is not None

    def burst(name: str) -> None:
        print(name, file=asked, flush=True)
        assert "done\n" == told.readline()

    for turn in range(3):
        burst(f"up{turn}")
        getattr(daemon, how)()
        burst(f"down{turn}")
        daemon.start()
    burst("end")
    _, err = process.communicate(timeout=90)

    assert (0, "") == (process.returncode, err)
    bursts = [*(f"{state}{turn}" for turn in range(3) for state in ("up", "down")), "end"]
    expected = [f"{burst}-{i}" for burst in bursts for i in range(300)]
    assert expected == [record["event"] for record in delivered(daemon, home)]


# -- several homes, several stores


def test_two_homes_into_one_daemon(tmp_path, kubo):
    """Two homes ship to one daemon at once; each log is whole, and their keys and logs are different."""
    homes = [tmp_path / "one", tmp_path / "two"]
    threads = [
        threading.Thread(
            target=lambda home=home, n=n: programs.run(home, LOG_MANY, KUBO=kubo.url, COUNT=150, FIRST=1000 * n).clean()
        )
        for n, home in enumerate(homes)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    found = [[record["event"] for record in delivered(kubo, home)] for home in homes]
    assert [[f"r{1000 * n + i}" for i in range(150)] for n in range(2)] == found
    names = {oracle.read_home(home)["logs"][0].batches[0].manifest["log"] for home in homes}
    assert 2 == len(names)
    assert 2 == len({name.split("/")[1] for name in names})


def test_two_replicas_get_the_same_blocks(home, kubo, kubo_online):
    """With two stores and `replicas: 2` flush returns when both have confirmed; the CIDs are the same on both."""
    body = """
        configure(kubo=[ONE, TWO], replicas=2, flush_timeout=20.0)
        for i in range(120): log.info("r%d", i)
        [h] = logging.getLogger().handlers
        h.flush(); print("flushed", flush=True); os._exit(0)
    """
    programs.run(home, body, ONE=kubo.url, TWO=kubo_online.host_url).clean()

    for daemon in (kubo, kubo_online):
        assert [f"r{i}" for i in range(120)] == [record["event"] for record in delivered(daemon, home)]


def test_one_of_two_stores_is_down(home, kubo, kubo_daemon):
    """One store of two is down: with one replica flush is content, and the other gets everything when it is back."""
    other = kubo_daemon()
    other.stop()
    body = """
        configure(kubo=[ONE, TWO], replicas=1, flush_timeout=30.0)
        for i in range(50): log.info("r%d", FIRST + i)
    """
    ended = programs.run(home, body, ONE=kubo.url, TWO=other.url, FIRST=0).clean()
    assert_in_time(ended.seconds, 8.0)
    assert 50 == len(delivered(kubo, home))

    other.start()
    ship_now(home)

    assert [f"r{i}" for i in range(50)] == [record["event"] for record in delivered(other, home)]


# -- what a store can say


@pytest.mark.slow
def test_a_poison_batch_stops_nobody_behind_it(home):
    """A store that names one batch as bad: the group is halved until it is found, it is set aside, the rest arrives."""
    for turn in range(9):
        programs.run(home, 'configure(); log.info("r%d", TURN)', TURN=turn).clean()
    known = manifests(home)
    with FakeKubo() as daemon:
        mismatch = FakeKubo.error(500, f'import failed after block "{known[4]}": mismatch in content integrity, got: x')
        honest = daemon.answer
        daemon.respond_always("dag/import", lambda asked: mismatch if _carries(asked.body, known[4]) else honest(asked))
        programs.run(home, 'configure(kubo=KUBO, flush_timeout=20.0); log.info("r9")', KUBO=daemon.url).clean()

        pinned = [cid.text for cid in daemon.store.pins]
        sizes = [sum(_carries(asked.body, cid) for cid in known) for asked in daemon.uploads()]

    everything = manifests(home)
    assert [cid in pinned for cid in everything] == [index != 4 for index in range(10)]
    assert sizes[0] == 9
    assert 1 in sizes
    mark = json.loads(next((home / "logs" / "shipped").iterdir()).read_bytes()[9:])
    assert [4] == [index for index, _ in mark["aside"]]
    assert "mismatch" in mark["aside"][0][1]
    assert 9 == mark["upto"]


def _carries(body: bytes, cid: str) -> bool:
    return oracle._cid_bytes(cid) in body


@pytest.mark.slow
def test_a_refusal_blames_no_batch(home):
    """403 concerns the token or the origin: nothing is set aside, and everything arrives when the store lets us in."""
    with FakeKubo() as daemon:
        daemon.respond_always("version", FakeKubo.error(403, "403 - Forbidden"))
        body = """
            configure(kubo=KUBO, flush_timeout=30.0)
            for i in range(30): log.info("r%d", FIRST + i)
        """
        ended = programs.run(home, body, KUBO=daemon.url, FIRST=0).clean()
        assert_in_time(ended.seconds, 5.0)
        mark = json.loads(next((home / "logs" / "shipped").iterdir()).read_bytes()[9:])
        assert ([], "denied") == (mark["aside"], mark["trouble"][0])
        daemon.reset()
        programs.run(home, body, KUBO=daemon.url, FIRST=30).clean()

        pinned = [cid.text for cid in daemon.store.pins]

    assert all(cid in pinned for cid in manifests(home))
    assert 60 == len(oracle.sealed_records(home))


@pytest.mark.parametrize("cut", ["before", "after"])
def test_an_answer_that_is_lost_costs_nothing(home, cut):
    """The connection breaks after the store has pinned all: asked again, it confirms, with the newest head."""
    with FakeKubo() as daemon:
        honest = daemon.answer

        def lose(asked):
            if cut == "after":
                honest(asked)
            return Response(then="reset")

        daemon.respond_once("dag/import", lose)
        body = """
            configure(kubo=KUBO, flush_timeout=20.0, batch={"records": 10})
            for i in range(35): log.info("r%d", i)
        """
        programs.run(home, body, KUBO=daemon.url).clean()
        uploads = len(daemon.uploads())
        pins = [cid.text for cid in daemon.store.pins]

    [log] = oracle.read_home(home)["logs"]
    assert all(batch.cid in pins for batch in log.batches)
    assert log.head_cid in pins
    assert not [batch.head_cid for batch in log.batches[:-1] if batch.head_cid in pins]
    assert uploads >= (1 if cut == "after" else 2)


def test_a_head_that_was_not_pinned_with_its_batch_is_sent_again(home):
    """The answer was lost after the manifest was pinned and before the head was: the head is pinned all the same."""
    with FakeKubo() as daemon:

        def half(asked):
            roots, _, _ = daemon.store.load(FakeKubo.uploaded_file(asked))
            daemon.store.pin(roots[0])
            return Response(then="reset")

        daemon.respond_once("dag/import", half)
        programs.run(home, 'configure(kubo=KUBO, flush_timeout=20.0); log.info("r0")', KUBO=daemon.url).clean()
        pins = [cid.text for cid in daemon.store.pins]

    [log] = oracle.read_home(home)["logs"]
    assert {log.batches[0].cid, log.head_cid} == set(pins)


def test_an_unreadable_token_is_no_secret_in_the_home(home):
    """A token given in the configuration stands nowhere in the home."""
    with FakeKubo() as daemon:
        body = 'configure(kubo=KUBO, token="bearer:very-secret-word"); log.info("r0")'
        programs.run(home, body, KUBO=daemon.url).clean()
        assert all("Bearer very-secret-word" == asked.headers["authorization"] for asked in daemon.requests)

    for path in home.rglob("*"):
        assert path.is_dir() or b"very-secret-word" not in path.read_bytes(), path
