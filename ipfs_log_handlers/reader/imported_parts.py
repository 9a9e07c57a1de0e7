"""List the batches of other homes in a home: those of imported files, and of mirrored logs.

These files are not believed more than others: a key that the home trusts for the log, or that the reader gives, must
have signed a head from which a batch can be reached. Of a mirrored log, a batch counts when its head leads to it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.index_page import PAGE_BATCHES
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.home.imported_logs import (
    MirroredDir,
    imported_files,
    index_directory,
    mirrored_logs,
    trusted_keys,
)
from ipfs_log_handlers.home.index_pages import AskedPage, IndexPages
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.parts import Reads, Verify

__all__ = ["ImportedSource", "mirrored_files"]

if TYPE_CHECKING:
    from ipfs_log_handlers.reader.car_parts import CarSource
    from ipfs_log_handlers.reader.chain_part import ChainPart
    from ipfs_log_handlers.reader.sealed_log import SealedLog

_TRIES: Final = 10
"""How often files are listed again that a mirror replaces at the same time."""


class ImportedSource:
    """The logs of other homes in a home.

    Args:
        home: the home.
        on_gap: called with what cannot be read, and once for each log that no trusted key has signed.
        keys: the keys to trust; empty: those that the home trusts.
        verify: as for `CarSource`.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        home: HomeDir,
        on_gap: Callable[[Gap], None],
        *,
        keys: Sequence[VerifierKey] = (),
        verify: Verify = "batch",
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self._home = home
        self._keyring = keyring
        self._on_gap = on_gap
        self._keys = keys
        self._verify = verify
        self._known: dict[Path, tuple[Hashable, CarSource, Sequence[ChainPart]]] = {}
        self._reported: set[tuple[str, str, int | None]] = set()

    @property
    def is_used(self) -> bool:
        """Whether the home has a log of another home; no file is opened for this."""
        return any(
            name.endswith(".car") or disk.exists(MirroredDir(self._home.imported / name).head_file)
            for name in disk.names(self._home.imported)
        )

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems of the logs; the manifests of mirrored logs are not read."""
        mirrored = {target.subsystem for target in mirrored_logs(self._home) if disk.exists(target.head_file)}
        return sorted({*mirrored, *(part.subsystem for part in self._imported())})

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[ChainPart]:
        """List the batches of a subsystem, by log and number; they show their origin.

        Args:
            subsystem: its name.
            reads: counts the manifests.

        Raises:
            OSError: the home cannot be read.
        """
        return [part for part in self.all_parts(subsystem, reads) if part.has_records]

    def all_parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[ChainPart]:
        """List the same batches, and those without records; each once, also if several files have it."""
        places: dict[tuple[str, int], ChainPart] = {}
        for _, parts in self._logs(subsystem):
            for part in parts:
                if part.subsystem == subsystem:
                    places.setdefault((part.log, part.index), part)
        pages = 0 if self._keys else self._bind_pages(places)
        if reads is not None:
            reads.manifests += len(places)
            reads.pages += pages
        found = [places[place] for place in sorted(places)]
        if found:
            from ipfs_log_handlers.reader.acts_of_parts import mark_acts

            mark_acts(found)  # an act of one log may give up payloads of an earlier one
        return found

    def _bind_pages(self, places: Mapping[tuple[str, int], ChainPart]) -> int:
        """Let the index pages that name these batches say which ids they may hold; return the number of pages."""
        count = 0
        for (log, first), members in groupby(sorted(places), key=lambda place: (place[0], place[1] // PAGE_BATCHES)):
            page = IndexPages(index_directory(self._home, log)).load(first * PAGE_BATCHES, log)
            if page is None:
                continue
            count += 1
            asked = AskedPage(page)
            for place in members:
                number = place[1] % PAGE_BATCHES
                entry = page.entries[number] if number < page.count else None
                if entry is not None and entry.cid == places[place].cid.text:
                    places[place].index_page = partial(asked.may_hold, number)
        return count

    def chains(self) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        """Return the newest head that is here, and all batches of each log, by its name; raises as `parts`."""
        found: dict[str, tuple[Head | None, Sequence[ChainPart]]] = {}
        for name in self.subsystems():
            for source, parts in self._logs(name):
                heads = source.chains()
                for log in dict.fromkeys(part.log for part in parts):
                    some = [part for part in parts if part.log == log]
                    if log not in found or some[-1].index > found[log][1][-1].index:
                        found[log] = (heads[log][0], some)
        return found

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names; as `CarSource`."""
        for name in self.subsystems():
            for source, _ in self._logs(name):
                place = source.place_of(cid)
                if place is not None:
                    return place
        return None

    def part_of(self, cid: Cid) -> ChainPart | None:
        """Find the batch whose manifest or payload has a CID; `None` if there is none. Raises as `parts`."""
        parts = (part for name in self.subsystems() for part in self.all_parts(name))
        return next((part for part in parts if cid in (part.cid, part.payload)), None)

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of a log are proved from.

        Raises:
            VerificationError: it is not here, or no trusted key has signed it.
        """
        for source, parts in self._logs(subsystem_of(name)):
            if any(part.log == name for part in parts):
                return source.sealed_log(name)
        raise VerificationError("the home does not have this log any more", where=self._home.path, found=name)

    def directories(self) -> list[Path]:
        """List the directories in which files get a name when a batch comes."""
        paths = [self._home.imported, *(target.path for target in mirrored_logs(self._home))]
        return [path for path in paths if disk.is_directory(path)]

    def state(self) -> Hashable:
        """Return a value that changes when a batch has come; no file is read for it."""
        heads = [(target.path.name, _look_of(target.head_file)) for target in mirrored_logs(self._home)]
        return tuple(heads), tuple(path.name for path in imported_files(self._home))

    # -- the logs

    def _trusted(self) -> Sequence[VerifierKey]:
        return self._keys or trusted_keys(self._home)

    def _logs(self, subsystem: str) -> Iterator[tuple[CarSource, Sequence[ChainPart]]]:
        """Yield the files of each log, and of all imported logs, with their batches."""
        for target in mirrored_logs(self._home):
            if target.subsystem == subsystem:
                found = self._mirrored(target)
                if found is not None:
                    yield found
        parts = self._imported()
        if parts:
            yield self._known[self._home.imported][1], parts

    def _imported(self) -> Sequence[ChainPart]:
        """List the batches of imported files; the files are read once."""
        for _ in range(_TRIES):
            files = imported_files(self._home)
            before = self._known.get(self._home.imported)
            if before is not None and before[0] == tuple(files):
                return before[2]
            if not files:
                return ()
            from ipfs_log_handlers.reader.car_parts import CarSource

            listed = lambda: imported_files(self._home)  # noqa: E731
            with suppress(FileNotFoundError):
                source = CarSource(
                    files, self._report, keys=self._trusted(), verify=self._verify, listed=listed, keyring=self._keyring
                )
                parts = _with_origin([part for _, some in source.chains().values() for part in some], self._signed)
                self._known[self._home.imported] = (tuple(files), source, parts)
                return parts
        return ()

    def _mirrored(self, target: MirroredDir) -> tuple[CarSource, Sequence[ChainPart]] | None:
        """List the batches of a mirrored log that its head proves; `None` if there is none, or nobody has signed it."""
        for _ in range(_TRIES):
            state = _look_of(target.head_file)
            before = self._known.get(target.path)
            if before is not None and before[0] == state:
                return before[1], before[2]
            if not self._signed(target.log):
                return None
            try:
                head = target.head()
            except (FormatError, OSError) as error:
                self._report(_damaged(target.log, explain_any(error), str(target.head_file)))
                return None
            if head is None:
                return None
            from ipfs_log_handlers.reader.car_parts import CarSource

            files = mirrored_files(target, head.through)
            with suppress(FileNotFoundError):
                source = CarSource(
                    files,
                    self._report,
                    keys=self._trusted(),
                    verify=self._verify,
                    listed=_lister(target, head.through),
                    keyring=self._keyring,
                )
                parts = _with_origin(
                    [part for part in source.chains().get(target.log, (None, ()))[1] if part.index <= head.through],
                    self._signed,
                )
                self._known[target.path] = (state, source, parts)
                return source, parts
        return None

    def _signed(self, log: str) -> bool:
        """Say whether a key is trusted for a log; if not, report it once."""
        if any(key.name == key_name_of(log) for key in self._trusted()):
            return True
        self._report(_damaged(log, "no key that is trusted has signed it", None))
        return False

    def _report(self, gap: Gap) -> None:
        """Report a gap; of a log that cannot be reached from a signed head, only the first one."""
        place = (gap.log or gap.segment or "", gap.reason, None if gap.kind == "damaged" else gap.index)
        if place not in self._reported:
            self._reported.add(place)
            self._on_gap(gap)


def _with_origin(parts: Sequence[ChainPart], signed: Callable[[str], bool]) -> Sequence[ChainPart]:
    """Return the batches of logs that are signed; they show their origin."""
    shown = {log for log in dict.fromkeys(part.log for part in parts) if signed(log)}
    for part in parts:
        part.origin = part.log
    return [part for part in parts if part.log in shown]


def _damaged(log: str, reason: str, segment: str | None) -> Gap:
    return Gap(kind="damaged", subsystem=subsystem_of(log), log=log, index=None, reason=reason, segment=segment)


def mirrored_files(target: MirroredDir, through: int) -> list[Path]:
    """List the files of a mirrored log with batches up to a number; a manifest in a piece is read from there."""
    return [*(piece.path for piece in target.shown_pieces(through)), target.head_file]


def _lister(target: MirroredDir, through: int) -> Callable[[], list[Path]]:
    return lambda: mirrored_files(target, through)


def _look_of(path: Path) -> Hashable:
    try:
        status = disk.status(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
