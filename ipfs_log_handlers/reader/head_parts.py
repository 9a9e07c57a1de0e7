"""List the parts of one log, or of all logs of a home, from a CID on: of a head block, a manifest, or a home head.

No source is trusted. A home head must be signed by a key that is trusted, as each head block must be; the head block of
a log must be the one of that log and batch which the home head names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress

from ipfs_log_handlers.errors import FormatError, LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey, subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.home_head import HomeHead, LogHead
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.chain_part import ChainPart
from ipfs_log_handlers.reader.chain_parts import ChainSource
from ipfs_log_handlers.reader.chain_places import another_history
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.next_key import check_head_or_tell
from ipfs_log_handlers.reader.parts import Part, Reads, Verify
from ipfs_log_handlers.reader.sealed_log import SealedLog

__all__ = ["HeadSource", "check_named", "home_head_in"]


def home_head_in(block: bytes) -> HomeHead | None:
    """Return the home head that a block is; `None` for any other block. The signature is not checked."""
    with suppress(FormatError):
        return HomeHead.decode(block)
    return None


class HeadSource:
    """The records of the log of a head block or manifest, or of all logs of a home head.

    Args:
        start: CID of the head block, manifest or home head.
        get: returns a hashed block; raises `StoreError` and `VerificationError`.
        ask: begins to get a block, many at a time.
        close_connection: closes the connections of `get`.
        on_gap: called with each batch that cannot be read.
        keys: the keys, one of which must have signed the heads; empty: no signature is checked.
        verify: as for `ChainSource`.
        before: the source of an older head of the same name: its manifests are not asked for again. Logs that are
            longer there, or only there, stay as they are there.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        start: Cid,
        get: Callable[[Cid], bytes],
        close_connection: Callable[[], None],
        on_gap: Callable[[Gap], None],
        *,
        ask: Callable[[Cid], Future[bytes]],
        keys: Sequence[VerifierKey] = (),
        verify: Verify = "batch",
        before: HeadSource | None = None,
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self.start = start
        self._keyring = keyring
        self._get_block = get
        self._close_connection = close_connection
        self._on_gap = on_gap
        self._keys = keys
        self._verify = verify
        self._ask = ask
        self._known: dict[str, Sequence[ChainPart]] = {} if before is None else before.loaded()
        self._older = {} if before is None or not before.home_heads() else before.home_heads()
        self._same = {} if before is None else before.chains_by_head()
        self._block: bytes | None = None
        self._home_head: HomeHead | None = None
        self._heads: dict[str, LogHead] | None = None
        self._chains: dict[str, ChainSource] = {}

    # -- what the CID leads to

    @property
    def home_head(self) -> HomeHead | None:
        """The home head; `None`: the CID is that of a head block or manifest.

        Raises:
            StoreError: the block cannot be got.
            VerificationError: no key that is trusted has signed the home head.
        """
        if self._block is None:
            block = self._get_block(self.start)
            found = home_head_in(block)
            if found is not None:
                _check_signer(found, self._keys, self._get_block)
            self._home_head, self._block = found, block
        return self._home_head

    def home_heads(self) -> dict[str, LogHead]:
        """Return the newest head of each log of a home, by name of the log; empty without a home head. Raises as that.

        For a log that an older home head had longer, or alone, it is the older one.
        """
        if self._heads is None:
            home_head = self.home_head
            heads = {} if home_head is None else {head.log: head for head in home_head.logs}
            if heads:
                for log, older in self._older.items():
                    if log not in heads or heads[log].index < older.index:
                        heads[log] = older
            self._heads = heads
        return self._heads

    def loaded(self) -> dict[str, Sequence[ChainPart]]:
        """Return the batches of each log whose manifests were read, by name of the log."""
        return dict(self._known) | {log: chain.all_parts() for log, chain in self._chains.items()}

    def chains_by_head(self) -> dict[Cid, ChainSource]:
        """Return the chains of a home head whose manifests were read, by CID of the head block."""
        return dict(self._same) | {self.home_heads()[log].head: chain for log, chain in self._chains.items() if log}

    # -- a source

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems of the logs; of a home head, without reading a manifest."""
        if self.home_head is not None:
            return sorted({subsystem_of(log) for log in self.home_heads()})
        return self._alone().subsystems()

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the batches of a subsystem, log by log, oldest first. What a CID names does not change.

        Args:
            subsystem: its name.
            reads: counts the manifests.

        Raises:
            StoreError: a head block cannot be got.
            VerificationError: it is not what the CID names, no key that is trusted has signed it, or a log has two
                histories.
            FormatError: the CID is that of another block.
        """
        return [part for chain in self._marked(frozenset([subsystem])) for part in chain.parts(subsystem, reads)]

    def load(self, wanted: frozenset[str] | None) -> None:
        """Read the manifests of some subsystems now; raises as `parts`.

        Args:
            wanted: names of subsystems; `None`: of all.
        """
        for chain in self._sources(wanted):
            chain.all_parts()

    def all_parts(self) -> Sequence[ChainPart]:
        """List all batches of all logs, also those without records; raises as `parts`."""
        return [part for chain in self._marked() for part in chain.all_parts()]

    def chains(self) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        """Return the newest head and all batches of each log, by its name; raises as `parts`."""
        return {log: found for chain in self._marked() for log, found in chain.chains().items()}

    def heads(self, _: str) -> Sequence[Head]:
        """List no heads: those before the newest one of a log are not asked for."""
        return ()

    def is_whole(self, _: str) -> bool:
        """Say yes: a chain leads to the first batch."""
        return True

    def unread_chains(self) -> Iterator[tuple[LogHead | None, ChainSource]]:
        """Yield a new source for each log, with what the home head says of it; the caller closes it.

        Nothing is asked for but the home head. `check_named` compares the head of the log with it.
        """
        if self.home_head is None:
            yield None, self._chain(self.start, self._get, ())
        for head in self.home_heads().values():
            yield head, self._chain(head.head, self._get_block, ())

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names; as `ChainSource`."""
        places = (chain.place_of(cid) for chain in self._sources())
        return next((place for place in places if place is not None), None)

    def named(self, cid: Cid) -> tuple[str, int]:
        """Find the log and the number of the batch of a manifest; as `ChainSource`, also in each log of a home head."""
        if self.home_head is None:
            alone = self._chains.get("")
            return (alone or self._chain(self.start, self._get, ())).named(cid)
        place = self.place_of(cid)
        if place is None:
            raise VerificationError("no log of the home head has this batch", found=cid.text)
        return place

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of the log are proved from; as `ChainSource`."""
        if self.home_head is None:  # a proof needs few manifests, and no walk to the first
            alone = self._chains.get("")
            return (alone or self._chain(self.start, self._get, ())).sealed_log(name)
        head = self.home_heads().get(name)
        if head is None:
            raise VerificationError("the home head names no such log", expected=name)
        chain = self._chains.get(name)
        return (chain or self._chain(head.head, self._get_block, ())).sealed_log(name)

    def close(self) -> None:
        """Close connections."""
        for chain in self._chains.values():
            chain.close()
        self._close_connection()

    # -- the chains

    def _marked(self, wanted: frozenset[str] | None = None) -> list[ChainSource]:
        """Return the chains of the logs; acts in one of them count for the others, too."""
        chains = list(self._sources(wanted))
        if len(chains) > 1:
            mark_acts([part for chain in chains for part in chain.all_parts()])
        return chains

    def _sources(self, wanted: frozenset[str] | None = None) -> Iterator[ChainSource]:
        """Yield the chains of the logs, made when they are needed first; without a home head always the one log."""
        if self.home_head is None:
            yield self._alone()
            return
        for log, head in self.home_heads().items():
            if wanted is not None and subsystem_of(log) not in wanted:
                continue
            if log not in self._chains:
                same = self._same.pop(head.head, None)
                known = self._known.get(log, ())
                self._chains[log] = same or _checked(self._chain(head.head, self._get_block, known), known, head)
            yield self._chains[log]

    def _alone(self) -> ChainSource:
        """Return the one log of a head block or manifest."""
        if "" not in self._chains:
            known = [part for parts in self._known.values() for part in parts]
            self._chains[""] = _checked(self._chain(self.start, self._get, known), known, None)
        return self._chains[""]

    def _chain(self, start: Cid, get: Callable[[Cid], bytes], known: Sequence[ChainPart]) -> ChainSource:
        return ChainSource(
            start,
            get,
            _nothing,
            self._on_gap,
            ask=self._ask,
            keys=self._keys,
            verify=self._verify,
            known=known,
            keyring=self._keyring,
        )

    def _get(self, cid: Cid) -> bytes:
        return self._block if cid == self.start and self._block is not None else self._get_block(cid)


def _checked(chain: ChainSource, known: Sequence[ChainPart], named: LogHead | None) -> ChainSource:
    """Read the manifests of a log, and compare them with what is known of it; return the log.

    Args:
        chain: the log.
        known: batches of an older head of the same name.
        named: what a home head says of the log.

    Raises:
        VerificationError: the home head names another block, or the log has two histories.
    """
    ((log, (head, parts)),) = chain.chains().items()
    check_named(head, named)
    newest = next((part for part in reversed(known) if part.log == log), None)
    found = newest and next((part for part in parts if part.index == newest.index), None)
    if newest is not None and found is not None and found.cid != newest.cid:
        raise another_history(log, newest.index, expected=newest.cid, found=found.cid)
    return chain


def check_named(head: Head | None, named: LogHead | None) -> None:
    """Check that the head of a log is the one that a home head names; `None`: there is no such head.

    Raises:
        VerificationError: it is another one.
    """
    if named is not None and (head is None or (head.log, head.index) != (named.log, named.index)):
        raise VerificationError(
            "a home head names a block that is not the head of this batch",
            expected=f"{named.log} batch {named.index}",
            found="a manifest" if head is None else f"{head.log} batch {head.index}",
        )


def _check_signer(head: HomeHead, keys: Sequence[VerifierKey], get: Callable[[Cid], bytes]) -> None:
    """Check that one of the keys has signed a home head; if a key after them has, name it in the error.

    Args:
        head: the home head.
        keys: the trusted keys; empty: the signature is not checked.
        get: returns a hashed block.
    """
    if not keys:
        return
    for key in keys:
        if key.name == head.key_name:
            head.verify(key)
            return
    hint = None
    for log in head.logs:
        with suppress(LogStoreError):
            try:
                check_head_or_tell(Head.decode(get(log.head)), keys, get)
            except VerificationError as error:
                hint = error.hint
        if hint is not None:
            break
    raise VerificationError(
        "no trusted key has signed the home head",
        expected=" or ".join(key.name for key in keys),
        found=head.key_name,
        hint=hint,
    )


def _nothing() -> None:
    """Close nothing: connections end with the source."""
