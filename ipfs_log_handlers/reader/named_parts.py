"""List the parts of logs elsewhere by a name, which leads to the newest head of a log, or to the newest home head.

A name is an IPNS name, `/ipns/…`, or a file with a home head. Neither is trusted: a trusted key must have signed the
head. A later head may be neither older than an earlier one nor of another history of a log, nor of a log that the name
has left for another one. Of a name that has led to a home head, the head of a single log is an old answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ipfs_log_handlers.errors import ConfigurationError, StoreError, VerificationError
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.home_head import HomeHead
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.head_parts import HeadSource
from ipfs_log_handlers.reader.parts import Part, Reads
from ipfs_log_handlers.reader.sealed_log import SealedLog

__all__ = ["NamedSource", "name_of"]


def name_of(given: str) -> str | None:
    """Return the name in `/ipns/NAME` or `ipns://NAME`; `None` for another text.

    Raises:
        ConfigurationError: the name is empty or cannot stand in an address.
    """
    bare = given.strip()
    for beginning in ("/ipns/", "ipns://"):
        if bare.startswith(beginning):
            name = bare.removeprefix(beginning).rstrip("/")
            if not name or not name.isascii() or not all(letter.isalnum() or letter in "-._" for letter in name):
                raise ConfigurationError("not a name", where="source", expected="/ipns/k51…", found=ascii(given)[:80])
            return name
    return None


class NamedSource:
    """The records of the log, or of all logs of the home, to which a name leads.

    Args:
        name: the name.
        resolve: looks the name up; raises `StoreError`.
        make: makes the source of a head, given the source of the head before, if there was one.
        close_connection: closes the connections of `resolve`.
        on_gap: called when the lookup of the name fails.
    """

    def __init__(
        self,
        name: str,
        resolve: Callable[[str], Cid],
        make: Callable[[Cid, HeadSource | None], HeadSource],
        close_connection: Callable[[], None],
        on_gap: Callable[[Gap], None],
    ) -> None:
        self._name = name
        self._resolve = resolve
        self._make = make
        self._close_connection = close_connection
        self._on_gap = on_gap
        self._cid: Cid | None = None
        self._heads: HeadSource | None = None
        self._home_head: HomeHead | None = None
        self._newest: ChainPart | None = None
        self._left: set[str] = set()

    def leave(self, logs: Iterable[str]) -> None:
        """Ignore the heads of some logs from now on: the name has led to a later log. No effect on a home head."""
        self._left.update(logs)

    @property
    def is_known(self) -> bool:
        """Whether a lookup has led to a head."""
        return self._heads is not None

    def refresh(self, wanted: frozenset[str] | None = frozenset()) -> bool:
        """Look the name up; return whether it leads to a newer head.

        A head that is older than the known one, or of a log that the name has left, is ignored.

        Args:
            wanted: subsystems of a home whose manifests are read before the head counts as known; `None`: of all.

        Raises:
            StoreError: the lookup fails, or no store gives the head.
            VerificationError: no key that is trusted has signed the head, or a log or the home has two histories.
        """
        cid = self._resolve(self._name)
        if cid == self._cid:
            return False
        heads = self._make(cid, self._heads)
        is_newer = self._is_newer_home(heads) if heads.home_head is not None else self._is_newer_log(heads)
        if is_newer:
            heads.load(wanted)
            self._cid, self._heads, self._home_head = cid, heads, heads.home_head
        return is_newer

    def _is_newer_home(self, heads: HeadSource) -> bool:
        known, found = self._home_head, heads.home_head
        if known is None or found is None:
            return True
        if known.counter == found.counter and (known.key_name, known.logs) != (found.key_name, found.logs):
            raise VerificationError(
                "a home has two histories: one was rolled back or forged",
                where=f"{found.key_name} home head {found.counter}",
                expected=known.cid.text,
                found=found.cid.text,
            )
        return found.counter > known.counter

    def _is_newer_log(self, heads: HeadSource) -> bool:
        if self._home_head is not None:
            return False
        newest, last = self._newest, heads.all_parts()[-1]
        if last.log in self._left:
            return False
        if newest is not None and last.log != newest.log:
            self.leave([newest.log])
        elif newest is not None and (last.index < newest.index or last.cid == newest.cid):
            return False
        self._newest = last
        return True

    def report(self, error: StoreError) -> None:
        """Report that the lookup of the name failed."""
        newest = self._newest
        subsystem, log = (newest.subsystem, newest.log) if newest is not None else ("", "")
        self._on_gap(Gap(kind="absent", subsystem=subsystem, log=log, index=None, reason=f"{self._name}: {error}"))

    def _current(self) -> HeadSource:
        if self._heads is None:
            self.refresh()
        if self._heads is None:
            raise ConfigurationError("a name that leads to nothing", where=self._name)
        return self._heads

    def subsystems(self) -> Sequence[str]:
        """Look the name up; return the subsystems of its logs."""
        self.refresh()
        return self.known_subsystems()

    def known_subsystems(self) -> Sequence[str]:
        """Return the subsystems of the logs to which the last lookup led."""
        return self._current().subsystems()

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the batches of the logs of a subsystem, as `known_parts`; `reads` counts what is read for that."""
        return self._current().parts(subsystem, reads)

    def known_parts(self, subsystem: str) -> Sequence[Part]:
        """List the batches of the logs to which the last lookup led, each oldest first. Raises as `refresh`."""
        return self._current().parts(subsystem)

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names; as `ChainSource`."""
        return self._current().place_of(cid)

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of the log are proved from; as `ChainSource`."""
        return self._current().sealed_log(name)

    def current(self) -> HeadSource:
        """Return what the name leads to now."""
        self.refresh()
        return self._current()

    @property
    def known(self) -> HeadSource | None:
        """What the last lookup has led to; `None` before the first one."""
        return self._heads

    def close(self) -> None:
        """Close the connections."""
        if self._heads is not None:
            self._heads.close()
        self._close_connection()
