"""What stands in a sealed batch, whatever the segments hold and the headers say."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import line
from ipfs_log_handlers.home import head, keys, quarantine, segments
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.lock import LostLockError
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.spool.dropped import dropped_in
from tests.support import oracle
from tests.support.logging_home import (
    OTHER,
    WRITER,
    dropped,
    header,
    keeping,
    lines,
    put_live,
    put_segment,
    record,
    seal_all,
)
from tests.support.sealed_records import sealed_seqs


class TestContent:
    def test_manifest(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """The manifest tells log, sources, times, counts and what the subsystem promises."""
        at = "2026-01-02T03:04:05.000006Z"
        put_segment(subsystem_dir, lines(3, 4, at=at) + lines(7, 7, at="1999-12-31T23:59:59.999999Z"))
        made = sealer()
        seal_all(made)
        (log,) = oracle.read_home(subsystem_dir.path.parent)["logs"]
        told = log.batches[0].manifest
        assert [[WRITER, 7, 3, 4], [WRITER, 7, 7, 7]] == told["sources"]
        assert (946_684_799_999_999, 1_767_323_045_000_006) == (told["first"], told["last"])
        assert (3, "logs", 3) == (told["records"], told["meta"]["type"], told["meta"]["record_count"])
        assert told["log"].split("/")[2] == "logs"
        assert abs(told["sealed"] / 1e6 - time.time()) < 60
        rules = subsystems.get("logs").rules.id
        assert {"levels": {"info": 3}, "loggers": {"t": 3}, "events": ["e"], "rules": rules} == told["stats"]

    def test_log_name(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home, names: key name, subsystem, eight hex digits that are drawn when the log starts and kept ever after."""
        for number in range(2):
            put_segment(subsystem_dir, lines(number + 1, number + 1), number=number)
            seal_all(sealer())
        (log,) = oracle.read_home(subsystem_dir.path.parent)["logs"]
        first, second = (each.manifest["log"] for each in log.batches)
        key = keys.load(HomeDir(subsystem_dir.path.parent))
        assert key is not None
        assert first == second
        assert first.startswith(f"{key.name}/logs/")
        assert 8 == len(first.rpartition("/")[2])

    @pytest.mark.parametrize(
        "at", ["", "x", "0", "9", "0001-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.-12345Z", "9999-99-99"]
    )
    def test_odd_times(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], at: str) -> None:
        """Home rule 14: a `time` that is none stops no batch."""
        put_segment(subsystem_dir, lines(1, 1, at=at) + lines(2, 2))
        seal_all(sealer())
        assert [1, 2] == sealed_seqs(subsystem_dir)

    def test_dropped(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 5: what writers had to drop stands in the manifest and is added up in the head; once."""
        put_segment(subsystem_dir, lines(1, 1) + dropped("ENOSPC", 4, 2, 5) + lines(6, 6) + dropped("ENOSPC", 1, 7, 7))
        put_segment(subsystem_dir, dropped("EIO", 2), writer=OTHER)
        made = sealer()
        seal_all(made)
        assert made.sealed is not None
        assert {"ENOSPC": 5, "EIO": 2} == made.sealed.dropped
        put_segment(subsystem_dir, dropped("EIO", 1), writer=OTHER, number=1)
        seal_all(made)
        (log,) = oracle.read_home(subsystem_dir.path.parent)["logs"]
        assert [{"ENOSPC": 5, "EIO": 2}, {"EIO": 1}] == [each.manifest["dropped"] for each in log.batches]
        assert {"ENOSPC": 5, "EIO": 3} == made.sealed.dropped

    @pytest.mark.parametrize(
        "told",
        [
            b"{}",
            b"[]",
            b"{",
            b'{"dropped":{"x":{"count":Infinity}}}',
            b'{"dropped":{"x":{"count":-1}}}',
            b'{"dropped":{"x":{"count":1e9}}}',
            b'{"dropped":{"x":{"count":99999999999999999999}}}',
            b'{"dropped":{"x":1}}',
            b'{"dropped":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        ],
        ids=range(9),
    )
    def test_odd_control_line(self, told: bytes, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 14: a control line that makes no sense is counted as that, and stops nothing."""
        assert {"unreadable control line": 1} == dropped_in(told)
        put_segment(subsystem_dir, (line.control(told) if told[-1:] == b"}" else b"") + lines(1, 1))
        assert 1 == seal_all(sealer())

    def test_damage(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 4: damage is in quarantine and counted before the head passes it; all whole records are sealed."""
        bad = line.record(b'{"no":"record"}')
        path = put_segment(subsystem_dir, lines(1, 2) + b"torn" + lines(3, 3) + bad + lines(4, 4) + b"\0\0\0")
        start = len(header().encode() + lines(1, 2))
        made = sealer()
        seal_all(made)
        assert [1, 2, 3, 4] == sealed_seqs(subsystem_dir)
        assert made.sealed is not None
        assert 3 == made.sealed.quarantined == quarantine.count(subsystem_dir.quarantine)
        assert b"torn" == (subsystem_dir.quarantine / f"{path.stem}.{start}").read_bytes()
        assert {b"torn", bad, b"\0\0\0"} == {each.read_bytes() for each in subsystem_dir.quarantine.iterdir()}
        assert not path.exists()

    def test_quarantine_first(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Home rule 4: damage that could not be set aside is not passed."""
        put_segment(subsystem_dir, b"torn\n" + lines(1, 1))
        made = sealer()
        monkeypatch.setattr(quarantine, "put", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        with pytest.raises(OSError, match="full"):
            seal_all(made)
        assert not subsystem_dir.current.head.exists()

    def test_only_a_torn_tail(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 4: the torn tail of a killed writer is set aside though nothing else waits."""
        live = put_live(subsystem_dir, lines(1, 1))
        made = sealer()
        seal_all(made)
        os.write(live.descriptor, b"0123")
        assert 0 == seal_all(made)
        live.close()
        assert 1 == seal_all(made)
        assert 1 == quarantine.count(subsystem_dir.quarantine)
        assert [] == list(subsystem_dir.spool.iterdir())

    @pytest.mark.slow
    @pytest.mark.parametrize("damaged", ["missing", "cut"])
    def test_a_damaged_batch_before(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], damaged: str
    ) -> None:
        """Home rule 14: an older batch that was damaged stops no sealing: its place in the chain is known elsewhere."""
        made = sealer()
        for number in range(14):
            put_segment(subsystem_dir, lines(number + 1, number + 1), number=number)
            seal_all(made)
        batches = Batches(subsystem_dir.current.batches)
        whole = {index: batches.file(index).read_bytes() for index in range(13)}
        cids = [batches.facts(index).cid for index in range(14)]
        for index in range(0, 13, 2):
            batches.file(index).unlink() if damaged == "missing" else batches.file(index).write_bytes(b"cut")
        made = sealer()
        for number in range(14, 20):
            put_segment(subsystem_dir, lines(number + 1, number + 1), number=number)
            assert 1 == seal_all(made)
        for index, content in whole.items():
            batches.file(index).write_bytes(content)
        assert list(range(1, 21)) == sealed_seqs(subsystem_dir)
        assert cids == [batches.facts(index).cid for index in range(14)]


class TestOthers:
    def test_policy_of_the_newest(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 28: `settings.json` is the keeper's, from the newest header of this very subsystem and writer."""
        put_segment(subsystem_dir, lines(1, 1), records=5)
        made = sealer()
        made.backlog(0.0)
        assert 5 == made.policy.records == json.loads(subsystem_dir.settings.read_bytes())["records"]
        path = put_segment(subsystem_dir, b"", number=1, records=6)
        path.write_bytes(header(OTHER, records=9).encode())
        path = put_segment(subsystem_dir, b"", number=2, records=6)
        path.write_bytes(header(WRITER, "audit", records=9).encode())
        made.backlog(0.0)
        assert 5 == made.policy.records
        put_segment(subsystem_dir, b"", number=3, records=7)
        made.backlog(0.0)
        assert 7 == made.policy.records == sealer().policy.records

    def test_a_clock_that_is_set_back_brings_no_older_settings_back(
        self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
    ) -> None:
        """Home rule 28: the segment that was made last says the settings, also when its clock says that it is older."""
        made = sealer()
        for year, records in ((2038, 5), (1999, 6)):
            logged = replace(header(records=records), started=f"{year}-01-01T00:00:00.000000Z")
            segments.create(subsystem_dir.spool, logged, records, sync=False).close()
            made.backlog(0.0)
            assert records == made.policy.records == policy_of(subsystem_dir).records

    @pytest.mark.parametrize(
        "first",
        [
            b"junk\n",
            line.header(b"{}"),
            line.header(b'{"v":9}'),
            line.header(b'{"v":1,"settings":5}'),
            line.header(json.dumps({**json.loads(header().encode()[9:]), "settings": {"records": 1e308}}).encode()),
            line.header(json.dumps({**json.loads(header().encode()[9:]), "settings": {"type": "x" * 99_999}}).encode()),
        ],
        ids=range(6),
    )
    def test_foreign_header(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer], first: bytes) -> None:
        """Home rule 14: a segment with a header of another kind is sealed like others, under the known policy."""
        path = put_segment(subsystem_dir, b"")
        path.write_bytes(first + lines(1, 2))
        made = sealer()
        assert 1 == seal_all(made)
        assert 200 == made.policy.records
        assert [1, 2] == sealed_seqs(subsystem_dir)

    def test_long_names(self, subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
        """Home rule 13: whatever loggers and events are called, the manifest fits its 16 KiB."""
        odd = [
            line.record(record(n, event="語" * 60 + str(n), logger="字" * 60 + str(n), level="級" * 60 + str(n)))
            for n in range(1, 33)
        ]
        put_segment(subsystem_dir, b"".join(odd))
        assert 1 == seal_all(sealer())
        assert list(range(1, 33)) == sealed_seqs(subsystem_dir)


class TestSettings:
    def test_store(self, home: Path, tmp_path: Path) -> None:
        """Home rule 28: settings that cannot be written cost nothing but the defaults of the next keeper."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 1), records=5)
        with keeping(HomeDir(home)) as held:
            made = Sealer.open(held, subsystem_dir)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(
                    "ipfs_log_handlers.keeper.due.store_policy",
                    lambda *_: (_ for _ in ()).throw(OSError(30, "read-only")),
                )
                made.backlog(0.0)
            assert 5 == made.policy.records
            assert not subsystem_dir.settings.exists()

    def test_header_not_readable_now(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Home rule 14: a header that cannot be read just now is read again, and its policy taken over."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 1), records=5)
        with keeping(HomeDir(home)) as held:
            made = Sealer.open(held, subsystem_dir)
            with monkeypatch.context() as patch:
                patch.setattr(segments, "open_segment", lambda _: (_ for _ in ()).throw(OSError(24, "too many")))
                made.backlog(0.0)
            assert 5 != made.policy.records
            made.backlog(1.0)
            assert 5 == made.policy.records

    def test_unreadable_head(self, home: Path) -> None:
        """Home rule 9: a head that became unreadable under a living keeper is not written over."""
        subsystem_dir = HomeDir(home).subsystem_dir("logs")
        put_segment(subsystem_dir, lines(1, 1))
        with keeping(HomeDir(home)) as held:
            made = Sealer.open(held, subsystem_dir)
            seal_all(made)
            subsystem_dir.current.head.write_bytes(b"damage")
            put_segment(subsystem_dir, lines(2, 2), number=1)
            with pytest.raises(LostLockError):
                seal_all(made)
        assert b"damage" == subsystem_dir.current.head.read_bytes()
        with pytest.raises(FormatError):
            head.load(subsystem_dir.current.head)
