"""What was verified before must be continued: an older head, another history and a vanished log are found."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers.errors import FormatError, LogStoreError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey
from ipfs_log_handlers.verify.forks import ForkEvidence, check_fork
from ipfs_log_handlers.verify.known_logs import KnownLog, KnownLogs
from ipfs_log_handlers.verify.problems import Problem
from ipfs_log_handlers.verify.remembering import consistency, remember
from ipfs_log_handlers.verify.report import Report
from tests.support import chains
from tests.support.mutations import cuts, flips

COUNT = 64
LOG = chains.build(COUNT)
LEAVES = [merkle.leaf_hash(cid) for cid in LOG.cids]
ROOTS = [merkle.root(LEAVES[:size]) for size in range(COUNT + 1)]


def fork(at: int, count: int = COUNT) -> chains.SignedLog:
    """Return another history of the same log, which begins at a batch."""
    return chains.build(count, after=LOG.manifests[:at], mark=7)


@pytest.fixture
def memory(tmp_path: Path) -> KnownLogs:
    """Return an empty memory."""
    return KnownLogs(tmp_path / "known")


def report(log: chains.SignedLog, size: int | None = None, **changes: Any) -> Report:
    """Return the report of a log without a problem."""
    return Report(subsystem="audit", log=chains.LOG, chain=log.signed(size), **changes)


def seen(memory: KnownLogs, *reports: Report, source: str | None = None) -> list[Report]:
    """Compare reports with the memory."""
    return list(remember(reports, memory, source, None))


def result(memory: KnownLogs, log: chains.SignedLog, size: int | None = None) -> str:
    """Return the outcome for one log."""
    (compared,) = seen(memory, report(log, size))
    return compared.result


@pytest.mark.parametrize("start", [0, 1, 17, 32, 40])
def test_each_pair_of_sizes_has_its_consistency_proof(start: int) -> None:
    """From the edges in the manifests alone, also where the first ones are not here: as over all leaves."""
    for size in range(max(1, start), COUNT + 1):
        chain = LOG.signed(size, start=start)
        for old in range(1, size + 1):
            if old < start or (old == size and old - 1 < start):
                continue
            prefix, proof = consistency(chain, old, size)
            assert (prefix, proof) == (ROOTS[old], merkle.consistency_proof(LEAVES[:size], old))
            merkle.verify_consistency(old, prefix, size, ROOTS[size], proof)
    if start > 1:
        with pytest.raises(LookupError):
            consistency(LOG.signed(COUNT, start=start), start - 1, COUNT)


def test_the_first_head_is_remembered_and_each_later_one_must_continue_it(memory) -> None:
    """Sizes may repeat and grow; a smaller one is stale, and the memory stays where it was."""
    first, second, third = (seen(memory, report(LOG, size))[0] for size in (3, 3, 9))
    assert (first.first_seen, first.remembered, first.ok) == (True, None, True)
    assert (second.first_seen, second.remembered, second.ok) == (False, 3, True)
    assert (third.remembered, third.ok) == (3, True)
    for older in range(1, 9):
        assert result(memory, LOG, older) == "stale"
    known = memory.load(chains.LOG)
    assert known is not None
    assert (known.checkpoint.size, known.key) == (9, chains.KEY.verifier)


@pytest.mark.parametrize("at", [0, 1, 5, 8, 31, 40])
@pytest.mark.parametrize("size", [41, 64])
def test_another_history_is_found_and_proven(memory, at: int, size: int) -> None:
    """Whatever the sizes of the two heads: the file alone, with the key, shows that both were signed."""
    assert result(memory, LOG, 41) == "ok"
    (compared,) = seen(memory, report(fork(at), size))
    assert (compared.result, [problem.field for problem in compared.problems]) == ("forked", ["remembered"])
    assert compared.evidence is not None
    file = Path(compared.evidence)
    assert file.stat().st_mode & 0o777 == 0o600
    shown = check_fork(file.read_bytes(), chains.KEY.verifier.text)
    assert (shown.log, shown.older.size, shown.newer.size) == (chains.LOG, 41, size)
    assert shown.older.root != shown.newer.root
    assert memory.load(chains.LOG) == KnownLog.of(LOG.heads[40].checkpoint, chains.KEY.verifier)
    assert result(memory, LOG) == "ok"  # the history that was seen first goes on


def evidence(old: int, at: int, size: int) -> ForkEvidence:
    """Return the evidence of a fork."""
    other = fork(at)
    prefix, proof = consistency(other.signed(size), old, size)
    notes = LOG.heads[old - 1].checkpoint, other.heads[size - 1].checkpoint
    return ForkEvidence(older=notes[0], newer=notes[1], prefix=prefix, proof=proof)


def test_evidence_of_no_fork_is_refused() -> None:
    """Two heads of one history, of two logs, of another key, or without their proof show nothing."""
    data = evidence(5, 3, 9).encode()
    assert ForkEvidence.decode(data).encode() == data
    assert check_fork(data, chains.KEY.verifier.text).log == chains.LOG
    with pytest.raises(VerificationError):
        check_fork(data, SecretKey.generate(bytes(32)).verifier.text)
    prefix, proof = consistency(LOG.signed(9), 5, 9)
    honest = ForkEvidence(older=LOG.heads[4].checkpoint, newer=LOG.heads[8].checkpoint, prefix=prefix, proof=proof)
    with pytest.raises(VerificationError, match="no fork"):
        honest.check(chains.KEY.verifier)
    sister = chains.build(9, log=chains.SISTER)
    prefix, proof = consistency(sister.signed(), 5, 9)
    with pytest.raises(VerificationError, match="not of one log"):
        ForkEvidence(older=LOG.heads[4].checkpoint, newer=sister.heads[8].checkpoint, prefix=prefix, proof=proof).check(
            chains.KEY.verifier
        )


def refused(check: Any, mutants: Iterable[bytes], error: type[Exception] | tuple[type[Exception], ...]) -> int:
    """Count mutants, each of which must be refused."""
    count = 0
    for mutant in mutants:
        count += 1
        with pytest.raises(error):
            check(mutant)
    return count


@pytest.mark.slow
def test_each_bit_and_each_cut_of_evidence_is_noticed() -> None:
    """No changed evidence is accepted: some 15,000 flips."""
    data, key = evidence(5, 3, 9).encode(), chains.KEY.verifier
    flipped = refused(lambda mutant: ForkEvidence.decode(mutant).check(key), flips(data), LogStoreError)
    assert flipped == 8 * len(data)
    refused(lambda mutant: ForkEvidence.decode(mutant).check(key), cuts(data), FormatError)


def test_each_bit_of_a_remembered_head_is_noticed() -> None:
    """A damaged memory is an error, and never a head that was not accepted."""
    known = KnownLog.of(LOG.heads[-1].checkpoint, chains.KEY.verifier)
    data = known.encode()
    assert KnownLog.decode(data) == known
    assert refused(KnownLog.decode, flips(data), LogStoreError) == 8 * len(data)
    refused(KnownLog.decode, cuts(data), LogStoreError)


def test_a_damaged_memory_is_named_and_not_overwritten(memory) -> None:
    """The user decides: the file is left as it is."""
    seen(memory, report(LOG, 5), source="there")
    file = memory.file(chains.LOG)
    file.write_bytes(file.read_bytes()[:-3])
    damaged = file.read_bytes()
    (compared,) = seen(memory, report(LOG, 9))
    assert (compared.result, compared.problems[0].field) == ("tampered", "memory")
    assert str(file) in compared.problems[0].found
    assert file.read_bytes() == damaged
    memory.source_file("there").write_bytes(b"junk")
    *_, last = seen(memory, report(LOG, 9), source="there")
    assert (last.result, last.log) == ("tampered", "")
    assert memory.source_file("there").read_bytes() == b"junk"


def test_a_log_with_a_problem_is_not_remembered(memory) -> None:
    """Neither its head nor that it was there."""
    for kind in ("tampered", "incomplete"):
        wrong = report(LOG, 5, problems=(Problem(1, "payload", "whole", "damaged", kind),))
        assert seen(memory, wrong, source="there") == [wrong]
    assert (memory.load(chains.LOG), memory.logs_of("there")) == (None, ())


def test_a_vanished_log_is_named(memory) -> None:
    """Unless the source could not be reached, or a later log has taken it up to its remembered end."""
    assert [each.result for each in seen(memory, report(LOG, 5), source="there")] == ["ok"]
    (gone,) = seen(memory, source="there")
    assert (gone.log, gone.result, gone.remembered) == (chains.LOG, "vanished", 5)
    assert str(memory.source_file("there")) in gone.problems[0].found
    assert seen(memory, source="elsewhere") == []
    away = Report(subsystem="", log="", problems=(Problem(None, "source", "an answer", "none", "unreachable"),))
    assert seen(memory, away, source="there") == [away]
    sister = chains.build(2, log=chains.SISTER)
    for end, results in (
        (Checkpoint.parse(LOG.heads[4].checkpoint), ["ok"]),
        (Checkpoint.parse(LOG.heads[5].checkpoint), ["ok"]),
        (Checkpoint.parse(LOG.heads[3].checkpoint), ["ok", "vanished"]),
        (Checkpoint.parse(fork(2).heads[4].checkpoint), ["ok", "vanished"]),
    ):
        after = Report(subsystem="audit", log=chains.SISTER, chain=sister.signed(), follows=end)
        assert [each.result for each in seen(memory, after, source="there")] == results


def test_a_key_is_pinned_and_another_one_is_refused(memory) -> None:
    """As a host key of ssh: pinned with the first head, used when none is given, and not replaced."""
    unsigned = report(LOG, 3)
    assert unsigned.chain is not None
    keyless = type(unsigned.chain)(
        note=unsigned.chain.note, key=None, start=0, manifest=unsigned.chain.manifest, cid=unsigned.chain.cid
    )
    first = Report(subsystem="audit", log=chains.LOG, chain=keyless)
    assert [each.trust for each in seen(memory, first)] == ["none"]
    assert [each.result for each in seen(memory, report(LOG, 3, trust="given"))] == ["ok"]
    assert [each.trust for each in seen(memory, first)] == ["pinned"]
    thief = SecretKey(chains.KEY.name, bytes(32))
    stolen = chains.SignedLog(LOG.manifests, thief)
    assert [each.result for each in seen(memory, report(stolen, 3))] == ["tampered"]
    unknown = Report(
        subsystem="audit",
        log=chains.LOG,
        chain=type(keyless)(
            note=stolen.heads[4].checkpoint, key=None, start=0, manifest=keyless.manifest, cid=keyless.cid
        ),
    )
    assert [each.result for each in seen(memory, unknown)] == ["tampered"]


def _verify_many(directory: Path, sizes: Iterable[int]) -> None:
    memory = KnownLogs(directory)
    for size in sizes:
        (compared,) = remember([report(LOG, size)], memory, None, None)
        assert compared.result in ("ok", "stale")
        known = memory.load(chains.LOG)
        assert known is not None
        assert known.checkpoint.size >= (size if compared.ok else 1)


def test_verifications_at_the_same_time_never_set_the_memory_back(memory) -> None:
    """Processes that remember larger and smaller heads in any order: the largest one stays, and the file is whole."""
    context = multiprocessing.get_context("spawn")
    orders = [range(1, 41), range(40, 0, -1), (*range(2, 41, 2), *range(1, 41, 2))]
    workers = [context.Process(target=_verify_many, args=(memory.directory, order)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    known = memory.load(chains.LOG)
    assert known is not None
    assert known.checkpoint.size == 40
    assert sorted(path.name for path in memory.directory.iterdir()) == sorted(["lock", memory.file(chains.LOG).name])
    assert memory.directory.stat().st_mode & 0o777 == 0o700


def test_a_head_that_became_older_while_it_was_verified_is_no_rollback(memory, monkeypatch) -> None:
    """Another process has remembered a later head of the same history meanwhile."""
    seen(memory, report(LOG, 3))
    real = KnownLogs.lock

    def overtaken(self: KnownLogs) -> Any:
        monkeypatch.setattr(KnownLogs, "lock", real)
        seen(memory, report(LOG, 20))
        return real(self)

    monkeypatch.setattr(KnownLogs, "lock", overtaken)
    assert result(memory, LOG, 9) == "ok"
    known = memory.load(chains.LOG)
    assert known is not None
    assert known.checkpoint.size == 20
