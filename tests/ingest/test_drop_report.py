"""Records that are lost are reported: to `handleError`, to `on_drop`, and in one line a minute on stderr."""

from __future__ import annotations

import errno
import io
import logging
import logging.config
import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import IPFSHandler, IPFSProcessor
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.ingest import drop_report
from ipfs_log_handlers.ingest.drop_report import DroppedError
from ipfs_log_handlers.runtime.process import HomeProcess
from tests.support import forked, programs
from tests.support.logging_home import durable, handler_of, logging_to, refuse

pytestmark = pytest.mark.usefixtures("_python_takes_records")

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(autouse=True)
def no_line_was_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a process that has printed nothing."""
    monkeypatch.setattr(drop_report, "_LINES", drop_report._Lines())


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a function that lets each `write` fail from now on."""
    with monkeypatch.context() as patch:

        def fill() -> None:
            refuse(patch, "write", FULL)

        yield fill


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on stderr; nothing else may have been printed."""
    out, err = capsys.readouterr()
    assert not out
    assert err == "" or err.endswith("\n")
    return err.splitlines()


class TestLine:
    def test_a_thousand_lost_records_print_one_line(
        self, home: Path, full_disk: Callable[[], None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The line names the log, the reason and the home."""
        with logging_to(home) as logger:
            logger.info("kept")
            full_disk()
            for number in range(1000):
                logger.info("lost %d", number)
        [text] = lines_of(capsys)
        assert text.startswith("ipfs_log_handlers: logs: 1 record was lost (ENOSPC). ")
        assert str(home) in text
        assert "Free some space" in text

    def test_after_a_minute_the_next_line_counts_what_was_lost_meanwhile(
        self,
        home: Path,
        full_disk: Callable[[], None],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Nothing is printed before that, and each reason has lines of its own."""
        now = [1000.0]
        monkeypatch.setattr(drop_report, "_now", lambda: now[0])
        with logging_to(home, flush_timeout=0) as logger:
            full_disk()
            for moment in (1000.0, 1000.1, 1059.9, 1060.1, 1060.2):
                now[0] = moment
                logger.info("lost")
        first, second = lines_of(capsys)
        assert "1 record was lost (ENOSPC)" in first
        assert "3 records were lost (ENOSPC)" in second

    def test_each_reason_has_a_line_of_its_own(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A full disk that becomes a broken one is said, too."""
        with logging_to(home) as logger:
            for number in (errno.ENOSPC, errno.EIO):
                with monkeypatch.context() as patch:
                    refuse(patch, "write", OSError(number, os.strerror(number)))
                    logger.info("lost")
                    logger.info("lost")
                handler_of(logger)._recorder.home.writers["logs"].segments._retry_at = 0.0
        assert ["(ENOSPC)", "(EIO)"] == [text[text.index("(") : text.index(")") + 1] for text in lines_of(capsys)]

    @pytest.mark.parametrize("way", ["plain", "fields that need the slow path", "processor", "routed"])
    def test_every_way_in_says_it(
        self, home: Path, full_disk: Callable[[], None], capsys: pytest.CaptureFixture[str], way: str
    ) -> None:
        """Handler and processor, the fast path and the slow one, one subsystem and all of them."""
        if way == "processor":
            processor = IPFSProcessor("logs", home=home, keeper="none")
            full_disk()
            for _ in range(3):
                processor(None, "info", {"event": "lost"})
            processor.close()
            HomeProcess._all.pop(home)
        else:
            with logging_to(home, None if way == "routed" else "logs") as logger:
                logger.info("kept")
                logger.info("kept")
                full_disk()
                for _ in range(3):
                    logger.info("lost", exc_info=ValueError() if way.startswith("fields") else None)
        [text] = lines_of(capsys)
        assert "(ENOSPC)" in text

    def test_nothing_is_printed_where_logging_must_not_raise(
        self,
        home: Path,
        full_disk: Callable[[], None],
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """`logging.raiseExceptions = False` silences us as it does the handlers of `logging`; `on_drop` is called."""
        monkeypatch.setattr(logging, "raiseExceptions", False)
        lost = Counter[str]()
        processor = IPFSProcessor("audit", home=home, keeper="none")
        with logging_to(home, on_drop=lambda reason, count: lost.update({reason: count})) as logger:
            full_disk()
            logger.info("lost")
            processor(None, "info", {"event": "lost"})
            processor.close()
        assert ([], {"ENOSPC": 1}) == (lines_of(capsys), lost)

    @pytest.mark.parametrize("stream", [None, "closed", "broken"])
    def test_a_stderr_that_is_gone_harms_nothing(
        self, home: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch, stream: str | None
    ) -> None:
        """Daemons close it, programs with windows have none."""

        class Broken(io.StringIO):
            def write(self, _: str) -> int:
                raise OSError(errno.EPIPE, "nobody reads")

        closed = io.StringIO()
        closed.close()
        with logging_to(home) as logger:
            full_disk()
            monkeypatch.setattr(sys, "stderr", {None: None, "closed": closed, "broken": Broken()}[stream])
            logger.info("lost")
            assert {"ENOSPC": 1} == handler_of(logger).status()[0]["dropped"]

    def test_a_path_with_a_line_break_stays_one_line(
        self, tmp_path: Path, full_disk: Callable[[], None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Control characters are escaped."""
        with logging_to(tmp_path / "a\nb\x1b[1m") as logger:
            full_disk()
            logger.info("lost")
        [text] = lines_of(capsys)
        assert r"a\nb\x1b[1m" in text

    def test_of_a_record_that_cannot_be_recorded_only_the_type_of_the_error_is_said(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The text of a foreign error may hold what must stay secret."""

        def fail(*_: object) -> None:
            raise ValueError("hunter2")

        with logging_to(home) as logger:
            monkeypatch.setattr(handler_of(logger)._recorder.__class__, "take", fail)
            logger.info("lost")
        [text] = lines_of(capsys)
        assert "1 record was lost (ValueError)" in text
        assert "hunter2" not in text

    def test_what_was_not_synced_is_said_at_the_next_flush(
        self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `durability="power"` a sync that fails is no lost record yet, but it must be heard of."""
        with logging_to(home, durability="power") as logger:
            logger.info("kept")
            with monkeypatch.context() as patch:
                refuse(patch, "fdatasync", OSError(errno.EIO, "io"))
                logger.info("not synced")
            handler_of(logger).flush()
            [text] = lines_of(capsys)
        assert "(not synced)" in text

    def test_a_child_of_a_fork_does_not_repeat_the_line_of_its_parent(
        self, home: Path, full_disk: Callable[[], None], capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A pool whose every child dies after one task would flood the terminal."""
        with logging_to(home) as logger:
            full_disk()
            logger.info("lost")
            assert forked.run_in_child(logger.info, "lost")
        assert 1 == capfd.readouterr().err.count("\n")


class TestHandleError:
    @pytest.mark.parametrize("warm", [False, True])
    def test_an_override_hears_of_each_lost_record(
        self, home: Path, full_disk: Callable[[], None], capsys: pytest.CaptureFixture[str], *, warm: bool
    ) -> None:
        """It gets the record, and the reason as the current exception; nothing else is printed."""
        heard = list[tuple[str, type]]()

        class Loud(IPFSHandler):
            def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
                error = sys.exc_info()[1]
                assert isinstance(error, HomeError)
                heard.append((record.getMessage(), type(error)))

        handler = Loud("logs", home=home, keeper="none", flush_timeout=0)
        logger = logging.Logger("t")
        logger.addHandler(handler)
        if warm:
            logger.info("kept")
            logger.info("kept")
        full_disk()
        for number in range(3):
            logger.info("lost %d", number)
        handler.close()
        assert [(f"lost {number}", DroppedError) for number in range(3)] == heard
        assert [] == lines_of(capsys)

    def test_a_method_of_one_handler_hears_of_it(self, home: Path, full_disk: Callable[[], None]) -> None:
        """Also one that was put on the handler after the fast path began."""
        heard = list[logging.LogRecord]()
        with logging_to(home) as logger:
            logger.info("kept")
            logger.info("kept")
            handler_of(logger).handleError = heard.append  # type: ignore[assignment, method-assign]
            full_disk()
            logger.info("lost")
        assert ["lost"] == [record.msg for record in heard]

    @pytest.mark.parametrize("owner", ["handleError", "on_drop", "stderr"])
    def test_what_is_logged_while_a_loss_is_reported_begins_no_report(
        self, home: Path, full_disk: Callable[[], None], monkeypatch: pytest.MonkeyPatch, owner: str
    ) -> None:
        """Never a recursion: what is lost there is counted, and reported with the next record."""
        counts = list[int]()

        def on_drop(reason: str, count: int) -> None:
            counts.append(count)
            if owner == "on_drop":
                logger.warning("%s", reason)

        class Stream(io.StringIO):
            def write(self, text: str) -> int:
                logger.warning(text)
                return len(text)

        with logging_to(home, on_drop=on_drop) as logger:
            if owner == "handleError":
                handler_of(logger).handleError = lambda record: logger.warning(  # type: ignore[method-assign]
                    "lost %s", record.msg
                )
            full_disk()
            with monkeypatch.context() as patch:
                if owner == "stderr":
                    patch.setattr(sys, "stderr", Stream())
                logger.info("first")
                logger.info("second")
            handler_of(logger).flush()
            dropped = handler_of(logger).status()[0]["dropped"]["ENOSPC"]
            left = dropped - sum(counts)
        assert left == (1 if owner == "on_drop" else 0)  # what the last call logged itself
        assert dropped <= 6

    def test_threads_report_side_by_side(self, home: Path, full_disk: Callable[[], None]) -> None:
        """A thread that reports keeps no other one from reporting."""
        inside, heard = threading.Barrier(2), list[str]()

        def handle_error(record: logging.LogRecord) -> None:
            inside.wait(20)  # both are inside at once
            heard.append(str(record.msg))

        with logging_to(home) as logger:
            handler_of(logger).handleError = handle_error  # type: ignore[method-assign]
            full_disk()
            threads = [threading.Thread(target=logger.info, args=(name,)) for name in ("a", "b")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(30)
        assert ["a", "b"] == sorted(heard)


class TestOnDrop:
    def test_the_counts_add_up_to_those_of_status(self, home: Path, full_disk: Callable[[], None]) -> None:
        """Each lost record is counted once, by the reason of `status()["dropped"]`."""
        lost = Counter[str]()
        with logging_to(home, on_drop=lambda reason, count: lost.update({reason: count})) as logger:
            logger.info("kept")
            full_disk()
            for _ in range(50):
                logger.info("lost")
            assert handler_of(logger).status()[0]["dropped"] == lost == {"ENOSPC": 50}

    def test_one_that_raises_is_counted_and_costs_nothing(self, home: Path, full_disk: Callable[[], None]) -> None:
        """Logging must not fail because a metric does."""

        def fail(_: str, __: int) -> None:
            raise LookupError

        with logging_to(home, on_drop=fail) as logger:
            full_disk()
            logger.info("lost")
            [status] = handler_of(logger).status()
        assert ({"ENOSPC": 1}, {"on_drop: LookupError": 1}) == (status["dropped"], status["failures"])

    def test_it_is_called_beside_a_processor(self, home: Path, full_disk: Callable[[], None]) -> None:
        """A processor takes it, too."""
        lost = list[tuple[str, int]]()
        processor = IPFSProcessor("logs", home=home, keeper="none", on_drop=lambda *args: lost.append(args))
        full_disk()
        assert {"event": "lost"} == processor(None, "info", {"event": "lost"})
        processor.close()
        HomeProcess._all.pop(home)
        assert [("ENOSPC", 1)] == lost


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give its privileges away")
@pytest.mark.parametrize("who", ["daemon", "worker"])
def test_a_program_that_gives_its_privileges_away_keeps_its_records_or_says_that_it_cannot(
    tmp_path: Path, who: str
) -> None:
    """The open segment goes on for the daemon; a worker that has none says so on stderr, and counts."""
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(0o755)
    body = """
        configure(keeper="none", max_spool_bytes=1 << 20)
        [h] = logging.getLogger().handlers
        log.info("as root")
        h.status()  # loads what it needs, since another user may be unable to read this Python
        if WHO == "worker" and os.fork():
            os.wait()
            os._exit(0)
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        for number in range(2000): log.info("as nobody %d %s", number, "x" * 80)
        print(json.dumps([h.status()[0]["dropped"], h.status()[0]["last_error"]]))
    """
    ended = programs.run(tmp_path / "home", body, WHO=who)
    kept = len(durable(tmp_path / "home"))
    if who == "daemon":
        assert (2001, "") == (kept, ended.err)
    else:
        assert 1 == kept
        assert 1 == ended.err.count("\n")
        assert "logs: 1 record was lost (EACCES). " in ended.err
        assert "belongs to user root" in ended.err
        assert '{"EACCES": 2000}' in ended.out
