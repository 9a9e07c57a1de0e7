"""A disk that was full recovers: everything durable is shipped, and the count of what was dropped is kept."""

from __future__ import annotations

import json
import signal
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from ipfs_log_handlers.testing import FakeDaemon
from tests.support import programs
from tests.support.cli import Ended, run
from tests.support.logging_home import wait_until
from tests.support.sample_homes import status
from tests.support.small_disks import mounted_disk

MIB = 1 << 20
Kind = Literal["tmpfs", "ext4"]
TOOLS = """
    import base64
    from pathlib import Path

    def noise(size): return base64.b85encode(os.urandom(size * 4 // 5)).decode()

    def fill():
        with open(Path(DISK) / "filler", "ab", buffering=0) as file:
            for size in (1 << 16, 512):
                try:
                    while file.write(bytes(size)) == size: pass
                except OSError: pass

    def fill_inodes():
        many = Path(DISK) / "many"
        many.mkdir()
        try:
            for number in range(1 << 20): (many / str(number)).touch()
        except OSError: pass

    def until(holds, deadline_s=60.0):
        end = time.monotonic() + deadline_s
        while not holds():
            assert time.monotonic() < end, logging.getLogger().handlers[0].status()
            time.sleep(0.02)

    def writer(): return logging.getLogger().handlers[0]._recorder.home.writers["logs"]

    def dropped(): return sum(writer().dropped.values())
"""
DISKS = pytest.mark.parametrize("kind", ["tmpfs", "ext4"])


@dataclass
class Bench:
    """A small disk, a daemon that is up, and programs that log to a home on the disk."""

    disk: Path
    daemon: FakeDaemon

    @property
    def home(self) -> Path:
        """The home."""
        return self.disk / "home"

    def text(self, body: str) -> str:
        """Return the text of a program."""
        return textwrap.dedent(TOOLS) + textwrap.dedent(body)

    def log(self, body: str) -> Any:
        """Run a program to its end; return what it printed last."""
        program = self.disk.parent / "programs" / "home"
        program.parent.mkdir(exist_ok=True)
        text = self.text(f"HOME = {str(self.home)!r}\n" + textwrap.dedent(body))
        # later than the deadline of `until`, which says what did not happen
        ended = programs.run(program, text, deadline_s=120, DISK=str(self.disk), KUBO=self.daemon.url)
        return json.loads(ended.clean_but_for_losses().out.splitlines()[-1])

    def ship(self) -> Ended:
        """Ship what is left, as a person does after the program has ended."""
        return run("ship", "--timeout", "15", home=self.home)

    def check_recovered(self, dropped: int) -> None:
        """Check that one call ships everything durable, keeps the count, and leaves a log that verifies."""
        [before] = status(self.home)
        assert dropped == sum(before["dropped"].values())
        ended = self.ship()
        assert (0, "") == (ended.code, ended.err)
        [after] = status(self.home)
        assert after["durable"] == before["durable"] == after["shipped"]
        assert dropped == sum(after["dropped"].values())
        assert 0 == run("verify", home=self.home).code


@pytest.fixture
def benches(tmp_path: Path) -> Iterator[Any]:
    """Yield a function that makes a bench."""
    with ExitStack() as stack:

        def make(kind: Kind, size: int, inodes: int | None = None) -> Bench:
            stack.enter_context(mounted_disk(tmp_path / "disk", kind, size, inodes))
            return Bench(tmp_path / "disk", stack.enter_context(FakeDaemon()))

        yield make


@DISKS
def test_a_burst_with_the_store_up_is_shipped_and_counted(benches: Any, kind: Kind) -> None:
    """More comes than can be shipped meanwhile: payloads leave, sealing goes on, and the disk takes records again."""
    bench = benches(kind, 24 * MIB)
    told = bench.log("""
        configure(kubo=KUBO, batch={"seconds": 0.2}, flush_timeout=10.0)
        for number in range(10): log.info("r%d", number)
        logging.getLogger().handlers[0].flush()
        while not dropped(): log.info("%s", noise(4000))
        for number in range(2000): log.info("%s", noise(4000))
        before = writer().durable
        def again():
            log.info("%s", noise(4000))
            return writer().durable > before + 100
        until(again)
        print(json.dumps(dropped()))
    """)
    assert told > 0
    bench.check_recovered(told)


@DISKS
@pytest.mark.parametrize("size", [8 * MIB, pytest.param(16 * MIB, marks=pytest.mark.soak)])
def test_the_first_batch_ever_is_sealed_on_a_full_disk(benches: Any, kind: Kind, size: int) -> None:
    """Nothing was sealed before: the key, the directories and the batch come from the reserve."""
    bench = benches(kind, size)
    told = bench.log("""
        configure(kubo=KUBO, keeper="none")
        log.info("r0")
        while not dropped(): log.info("%s", noise(4000))
        fill()
        for number in range(300): log.info("%s", noise(4000))
        print(json.dumps(dropped()))
    """)
    assert told >= 300
    bench.check_recovered(told)


@DISKS
def test_a_disk_without_inodes_recovers(benches: Any, kind: Kind) -> None:
    """There is space, but no file can be made: a batch takes as much as it can, and its segment gives an inode back."""
    bench = benches(kind, 48 * MIB, 128)
    told = bench.log("""
        configure(kubo=KUBO, batch={"seconds": 0.2}, flush_timeout=10.0)
        for number in range(10): log.info("r%d", number)
        logging.getLogger().handlers[0].flush()
        until((Path(HOME) / "reserve-files").exists)
        fill_inodes()
        for number in range(2500): log.info("%s", noise(4000))
        print(json.dumps(dropped()))
    """)
    bench.check_recovered(told)


@DISKS
def test_the_first_batch_ever_is_sealed_without_inodes(benches: Any, kind: Kind) -> None:
    """Nothing was sealed before: key, lock, directories and batch get the inodes of the reserve."""
    bench = benches(kind, 48 * MIB, 64)
    told = bench.log("""
        configure(kubo=KUBO, keeper="none")
        log.info("r0")
        fill_inodes()
        for number in range(5000): log.info("%s", noise(4000))
        print(json.dumps(dropped()))
    """)
    assert told > 0
    bench.check_recovered(told)


@DISKS
def test_several_programs_end_with_their_counts_kept(benches: Any, kind: Kind) -> None:
    """Each process has room of its own for its count."""
    bench = benches(kind, 8 * MIB)
    told = bench.log("""
        configure(kubo=KUBO, keeper="none")
        log.info("r0")
        fill()
        read, write = os.pipe()
        for child in range(4):
            if os.fork() == 0:
                for number in range(200): log.info("%s", noise(4000))
                logging.shutdown()
                os.write(write, b"%04d" % dropped())
                os._exit(0)
        for child in range(4): os.wait()
        counts = os.read(read, 16)
        print(json.dumps([int(counts[start : start + 4]) for start in range(0, 16, 4)]))
    """)
    assert min(told) > 0
    bench.check_recovered(sum(told))


@DISKS
def test_the_count_is_shown_while_the_disk_is_full_and_survives_a_sigkill(benches: Any, kind: Kind) -> None:
    """`ipfs-logs status` beside the program sees it; afterwards it is in a manifest."""
    bench = benches(kind, 8 * MIB)
    program = bench.disk.parent / "programs" / "home"
    program.parent.mkdir()
    body = bench.text("""
        configure(kubo=KUBO, keeper="none")
        log.info("r0")
        fill()
        while dropped() < 500: log.info("%s", noise(4000))
        print(dropped(), flush=True)
        while True:
            writer().check_segment()
            time.sleep(0.05)
    """)
    text = f"HOME = {str(bench.home)!r}\n{body}"
    with programs.start(program, text, DISK=str(bench.disk), KUBO=bench.daemon.url) as process:
        assert process.stdout is not None
        told = int(process.stdout.readline())
        wait_until(lambda: told == sum(status(bench.home)[0]["dropped"].values()))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert told >= 500
    bench.check_recovered(told)
