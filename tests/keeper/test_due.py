"""A batch is due by count, bytes or age, or when somebody waits; under load it takes everything."""

from __future__ import annotations

from collections.abc import Callable

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.home import quarantine
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.keeper.due import FLOOD_BATCHES
from ipfs_log_handlers.keeper.seal import Sealer
from ipfs_log_handlers.spool.scan import Backlog
from tests.support import oracle
from tests.support.encrypted import ALICE_KEY
from tests.support.logging_home import lines, put_live, put_segment, seal_all


def test_a_batch_is_due_by_the_limit_that_is_reached_first(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
) -> None:
    """A batch is due by count, by bytes, by age, or when somebody waits; otherwise it is not."""
    put_segment(subsystem_dir, b"", records=100, bytes=10_000, seconds=10)
    schedule = sealer().schedule
    schedule.read_new_headers()
    assert schedule.due_batch(Backlog(), 100.0, urgent=False) is None
    assert schedule.due_batch(Backlog(99, 9_999, 90.1), 100.0, urgent=False) is None
    assert schedule.due_batch(Backlog(99, 10_000, 99.0), 100.0, urgent=False) is not None
    assert schedule.due_batch(Backlog(99, 9_999, 90.0), 100.0, urgent=False) is not None
    assert schedule.due_batch(Backlog(1, 100, 99.9), 100.0, urgent=True) is not None
    due = schedule.due_batch(Backlog(250, 9_000, 99.9), 100.0, urgent=False)
    assert due is not None
    assert (100, 100, 11) == (due.limits.records, due.min_records, due.limits.level)


def test_little_waits_longer_unless_seconds_are_given(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
) -> None:
    """Home rule 12: by default 10 s from 16 KiB of lines on, 60 s below; given seconds are obeyed whatever waits."""
    put_segment(subsystem_dir, b"", records=1000)
    schedule = sealer().schedule
    schedule.read_new_headers()
    for size, age, due in ((16_383, 59.9, False), (16_383, 60.0, True), (16_384, 9.9, False), (16_384, 10.0, True)):
        assert due == (schedule.due_batch(Backlog(9, size, 0.0), age, urgent=False) is not None), (size, age)
    assert schedule.due_batch(Backlog(1, 100, 0.0), 0.1, urgent=True) is not None

    put_segment(subsystem_dir, b"", number=1, records=1000, seconds=3)
    schedule.read_new_headers()
    for size in (100, 100_000):
        assert schedule.due_batch(Backlog(9, size, 0.0), 2.9, urgent=False) is None
        assert schedule.due_batch(Backlog(9, size, 0.0), 3.0, urgent=False) is not None

    put_segment(subsystem_dir, b"", number=2, records=1000)
    schedule.read_new_headers()
    assert (10.0, 60.0) == (schedule.policy.seconds, schedule.policy.quiet_seconds)


def test_as_long_as_one_segment_wants_it_all_lines_are_encrypted(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
) -> None:
    """A newer program without encryption does not bring the lines of the older one into the clear."""
    to_alice = Encrypt(recipients=(ALICE_KEY,))
    older = put_segment(subsystem_dir, lines(1, 3), encrypt=to_alice)
    schedule = sealer().schedule
    schedule.read_new_headers()
    assert to_alice == schedule.policy.encrypt

    put_segment(subsystem_dir, lines(4, 6), number=1, encrypt=None)
    for reading in (schedule, sealer().schedule):
        reading.read_new_headers()
        assert to_alice == reading.policy.encrypt

    older.unlink()
    for reading in (schedule, sealer().schedule):
        reading.read_new_headers()
        assert reading.policy.encrypt is None
    put_segment(subsystem_dir, b"", number=2)
    schedule.read_new_headers()
    assert schedule.policy.encrypt is None


def test_a_damaged_header_changes_nothing_about_encryption(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
) -> None:
    """Its lines are sealed as those before it were."""
    put_segment(subsystem_dir, lines(1, 3), encrypt=Encrypt(recipients=(ALICE_KEY,))).unlink()
    damaged = put_segment(subsystem_dir, lines(4, 6), number=1, encrypt=Encrypt(recipients=(ALICE_KEY,)))
    sealer().schedule.read_new_headers()
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    schedule = sealer().schedule
    schedule.read_new_headers()
    assert Encrypt(recipients=(ALICE_KEY,)) == schedule.policy.encrypt


def test_a_flood_goes_into_one_batch(subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
    """Above ten batches' worth a batch takes all that waits, up to 32 MiB of lines, with the quick compression."""
    put_segment(subsystem_dir, b"", records=100)
    schedule = sealer().schedule
    schedule.read_new_headers()
    due = schedule.due_batch(Backlog(FLOOD_BATCHES * 100 + 1, 0, 99.9), 100.0, urgent=False)
    assert due is not None
    assert (1, True) == (due.limits.level, due.limits.records > 1 << 30)
    assert due.limits.raw_bytes <= 32 << 20


def test_batches_have_exactly_the_configured_number_of_records(
    subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]
) -> None:
    """Below a flood, batches have exactly the configured number of records."""
    put_segment(subsystem_dir, lines(1, 25), records=10)
    made = sealer()
    for expected in (10, 10, None):
        cut = made.schedule.due_batch(made.backlog(0.0), 0.0, urgent=False)
        assert expected == (cut and cut.limits.records)
        list(made.seal(cut, urgent=False)) if cut else None
    assert [10, 10] == [
        len(each.lines or ()) for each in oracle.read_home(subsystem_dir.path.parent)["logs"][0].batches
    ]


def test_a_batch_closes_at_64_sources(subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
    """Home rule 13: a batch that closes at 64 sources is sealed though it is short, the others later."""
    for number in range(100):
        put_segment(subsystem_dir, lines(1, 1), writer=f"{number:016x}", records=100, seconds=10)
    made, found = sealer(), list[int]()
    for now in (0.0, 11.0, 22.0):
        cut = made.schedule.due_batch(made.backlog(now), now, urgent=False)
        for _ in made.seal(cut, urgent=False) if cut else ():
            pass
        found.append(made.sealed.records if made.sealed else 0)
    assert [64, 100, 100] == found
    (log,) = oracle.read_home(subsystem_dir.path.parent)["logs"]
    assert [64, 36] == [len(each.manifest["sources"]) for each in log.batches]


def test_too_few_records_are_not_sealed(subsystem_dir: SubsystemDir, sealer: Callable[[], Sealer]) -> None:
    """A count that was only an estimate makes no short batch, and is not asked again and again."""
    live = put_live(subsystem_dir, lines(1, 3) + b"junk\njunk\n", records=5)
    made = sealer()
    cut = made.schedule.due_batch(made.backlog(0.0), 0.0, urgent=False)
    assert cut is not None
    list(made.seal(cut, urgent=False))
    assert made.sealed is None
    assert made.schedule.due_batch(made.backlog(0.0), 0.0, urgent=False) is None
    assert 1 == seal_all(made)
    live.close()
    assert 1 == seal_all(made)
    assert made.sealed is not None
    assert (1, 3) == (quarantine.count(subsystem_dir.quarantine), made.sealed.records)
