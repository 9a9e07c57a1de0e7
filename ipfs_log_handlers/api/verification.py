"""Verify the logs of any source, and remember the heads of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import ConfigurationError, FormatError, LogStoreError, StoreError, VerificationError

if TYPE_CHECKING:  # imported where they are used: `ipfs-logs status` verifies nothing
    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.query.times import Moment
    from ipfs_log_handlers.reader.chain_part import ChainPart
    from ipfs_log_handlers.reader.gaps import Gap
    from ipfs_log_handlers.reader.identities import Identities
    from ipfs_log_handlers.reader.parts import Source
    from ipfs_log_handlers.verify.report import Report

__all__ = ["Origin", "SourceVerifier", "known_logs", "read_policy", "verify_sources"]


@dataclass(frozen=True, slots=True)
class Origin:
    """How a source of a dataset was opened, so that its verification can read it anew."""

    source: Source
    """The source."""
    given: str | Path
    """What the user gave."""
    open: Callable[[Callable[[Gap], None]], Source | None]
    """Opens it again, with another function for gaps."""

    @property
    def name(self) -> str | None:
        """The name under which its logs are remembered; `None` for a CID, which cannot name anything else."""
        from ipfs_log_handlers.reader.named_parts import name_of

        if Path(self.given).exists():
            return os.path.realpath(self.given)
        name = name_of(self.given) if isinstance(self.given, str) else None
        return None if name is None else f"/ipns/{name}"


@dataclass(frozen=True, slots=True)
class SourceVerifier:
    """Verifies the sources of one dataset."""

    keys: tuple[str, ...]
    """The verifier keys to trust."""
    origins: tuple[Origin, ...]
    """How the sources outside the home were opened."""
    identity: Identities | None = field(default=None, repr=False)
    """The identities that open encrypted batches of a home."""
    key_directory: str | Path | None = None
    """A further key directory."""

    def __call__(
        self,
        source: Source,
        *,
        subsystems: Sequence[str] | None,
        deep: bool,
        since: int | None,
        sample: int | None,
        memory: bool | str | Path,
        progress: Callable[[str, int, int], None] | None,
        beside: Sequence[Source] = (),
    ) -> Iterator[Report]:
        """Verify all of a source; yield a report for each log. Acts in the logs of other sources count."""
        from ipfs_log_handlers.api.home import Home
        from ipfs_log_handlers.format.checkpoint import VerifierKey
        from ipfs_log_handlers.reader.home_parts import HomeSource
        from ipfs_log_handlers.reader.named_parts import NamedSource
        from ipfs_log_handlers.verify.chain import verify_elsewhere
        from ipfs_log_handlers.verify.remembering import with_memory
        from ipfs_log_handlers.verify.selection import Selection

        if isinstance(source, HomeSource):
            home = Home(source.reader.home.path)
            names = None if subsystems is None else [name for name in subsystems if name in home.subsystems]
            seconds = None if since is None else since / 1_000_000
            yield from home.verify(
                names, keys=self.keys, progress=progress, since=seconds, sample=sample, memory=memory,
                identity=self.identity, key_directory=self.key_directory,
            )  # fmt: skip
            return
        origin = next((origin for origin in self.origins if origin.source is source), None)
        if isinstance(source, NamedSource) and source.is_known:
            source.refresh()  # it has a memory of its own, of the heads to which the name has pointed
        gaps: list[Gap] = []
        fresh = source if origin is None else origin.open(gaps.append) or source
        try:
            reports = verify_elsewhere(
                fresh.current() if isinstance(fresh, NamedSource) else fresh,  # type: ignore[arg-type]
                keys=[VerifierKey.parse(key) for key in self.keys],
                gaps=gaps,
                deep=deep,
                selection=Selection(since, sample),
                subsystems=subsystems,
                among=[part for other in beside for part in _batches_of(other)],
                progress=progress,
            )
            for report in with_memory(reports, memory, None if origin is None else origin.name, subsystems):
                yield replace(report, source=None if origin is None else str(origin.given))
        finally:
            if fresh is not source:
                fresh.close()


def _batches_of(source: Source) -> Sequence[ChainPart]:
    """Return the batches of a source outside a home, for their acts; none if it cannot be read, as its report says."""
    from ipfs_log_handlers.reader.home_parts import HomeSource
    from ipfs_log_handlers.reader.named_parts import NamedSource

    if isinstance(source, HomeSource):
        return ()
    try:
        current = source.current() if isinstance(source, NamedSource) else source
        chains = current.chains()  # type: ignore[attr-defined]
    except (LogStoreError, OSError):
        return ()
    return [part for _, parts in chains.values() for part in parts]


def verify_sources(
    sources: Sequence[str | Path],
    subsystems: Sequence[str] | None = None,
    *,
    keys: Sequence[str] = (),
    kubo: str | None = None,
    gateway: str | None = None,
    token: str | None = None,
    deep: bool = False,
    since: Moment | None = None,
    sample: int | None = None,
    memory: bool | str | Path = False,
    progress: Callable[[str, int, int], None] | None = None,
    identity: Identities | None = None,
    key_directory: str | Path | None = None,
) -> Iterator[Report]:
    """Verify the logs of several sources, as `ipfs-logs verify --source` does. Yield one report for each log.

    A source that cannot be read, or that no trusted key has signed, is a report of its own, and the others are verified
    all the same. An act in a log of one source counts for the logs of the others. A name without a key is verified with
    the key that was pinned for it.

    Args:
        sources: as for `open_dataset`.
        subsystems: only these.
        keys: the verifier keys to trust.
        kubo: address of the daemon that is asked for the blocks of a CID or name.
        gateway: address of the HTTP gateway that is asked for them.
        token: credential of the daemon.
        deep: as for `Dataset.verify`.
        since: as for `Dataset.verify`.
        sample: as for `Dataset.verify`.
        memory: as for `Dataset.verify`.
        progress: as for `Dataset.verify`.
        identity: as for `open_dataset`; with `deep`, the records of encrypted batches are verified, too.
        key_directory: as for `open_dataset`.

    Raises:
        HomeError, ConfigurationError: as for `open_dataset`.
        OSError: a file, or the memory, cannot be read or written.
    """
    from ipfs_log_handlers.api.opening import open_dataset

    with ExitStack() as opened:
        pinned = [() if keys or memory is False else _pinned(source, memory) for source in sources]
        datasets: list[Dataset] = [
            opened.enter_context(
                open_dataset(
                    source, keys=keys or own, kubo=kubo, gateway=gateway, token=token,
                    identity=identity, key_directory=key_directory,
                )
            )
            for source, own in zip(sources, pinned, strict=True)
        ]  # fmt: skip
        for source, dataset, own in zip(sources, datasets, pinned, strict=True):
            chosen = dataset if subsystems is None else dataset.filter(subsystem=subsystems)
            # an act that nobody has checked counts only for a log that nobody has checked
            beside = [
                other
                for other, others in zip(datasets, pinned, strict=True)
                if other is not dataset and (keys or others or not own)
            ]
            reports: tuple[Report, ...]
            try:
                reports = chosen.verify(  # type: ignore[assignment]
                    deep=deep, since=since, sample=sample, memory=memory, progress=progress, beside=beside
                )
            except ConfigurationError:
                raise
            except (StoreError, VerificationError, FormatError) as error:
                reports = (_unread(source, error),)
            for report in reports:
                yield replace(report, trust="pinned") if own and report.trust == "given" else report


def _pinned(source: str | Path, memory: bool | str | Path) -> tuple[str, ...]:  # noqa: FBT001 - a value of the caller
    """Return the keys that were pinned for the logs to which a name has pointed."""
    from ipfs_log_handlers.reader.named_parts import name_of
    from ipfs_log_handlers.verify.known_logs import KnownLogs, known_logs_directory

    name = name_of(source) if isinstance(source, str) else None
    if name is None:
        return ()
    known = KnownLogs(known_logs_directory(None if isinstance(memory, bool) else memory))
    return tuple(key.text for key in known.keys_of(f"/ipns/{name}"))


def _unread(source: str | Path, error: LogStoreError) -> Report:
    """Return the report about a source whose first block cannot be read, or is not as it should be."""
    from ipfs_log_handlers.verify.problems import Problem
    from ipfs_log_handlers.verify.report import Report

    unreachable = isinstance(error, StoreError)
    expected = "an answer" if unreachable else "a head that a trusted key has signed"
    problem = Problem(None, "source", expected, str(error), "unreachable" if unreachable else "tampered")
    return Report(subsystem="", log="", source=str(source), problems=(problem,))


def known_logs(directory: str | Path | None = None) -> Path:
    """Make the directory of the heads that this reader remembers, and return it.

    Args:
        directory: the directory; `None`: that of `IPFS_LOGS_KNOWN_LOGS`, else the default one.

    Raises:
        HomeError, OSError: it cannot be written.
        ConfigurationError: this user has no home directory.
    """
    from ipfs_log_handlers.verify.known_logs import KnownLogs, known_logs_directory

    memory = KnownLogs(known_logs_directory(directory))
    with memory.lock():
        return memory.directory


def read_policy(path: str | Path) -> tuple[str, ...]:
    """Read the verifier keys in a policy file, in the form of C2SP tlog-policy.

    Raises:
        ConfigurationError: it cannot be read, is malformed, or asks for witnesses, which are not supported yet.
    """
    from ipfs_log_handlers.format.trust_policy import MAX_POLICY, parse_policy

    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_POLICY + 1)
    except OSError as error:
        raise ConfigurationError(f"a policy cannot be read: {error.strerror}", where=path) from error
    return tuple(key.text for key in parse_policy(data, path))
