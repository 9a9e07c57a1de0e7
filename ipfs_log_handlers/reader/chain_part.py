"""Describe one batch whose blocks come from a CAR file, daemon or gateway, as a part that a query reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import (
    ErasedError,
    FormatError,
    NoIdentityError,
    PrunedError,
    StoreError,
    VerificationError,
)
from ipfs_log_handlers.format.act import EXT_KEY
from ipfs_log_handlers.format.checkpoint import subsystem_of
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.encryption import Revealed, kid_in
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.reader.chosen_parts import refuse_given_up
from ipfs_log_handlers.reader.gaps import Gap, kind_of
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.parts import FIRST_MOMENT, OpenText, Verify, moment_text
from ipfs_log_handlers.reader.source import BlockSource

if TYPE_CHECKING:
    from concurrent.futures import Future

__all__ = ["ChainPart", "decoded_manifest"]

_MAX_DECODED: Final = 1024
"""Manifests that are held decoded: some 10 MiB."""

decoded_manifest = lru_cache(maxsize=_MAX_DECODED)(Manifest.decode)


class ChainPart:
    """One batch whose blocks come from a CAR file, daemon or gateway.

    Args:
        cid: CID of its manifest.
        block: the manifest, hashed.
        lines: yields its lines, verified in this way before the first; raises as `verified_lines`.
        open_text: opens them as one text; see `Part.open_text`.
        on_gap: called when its lines cannot be read.
        verify: how its lines are verified.
        prefetch: begins to fetch its payload before its lines are due.
        blocks: opens the source of its blocks.
        keyring: opens it if it is encrypted.
    """

    sealed = True
    number = 0
    origin: str | None = None

    def __init__(
        self,
        cid: Cid,
        block: bytes,
        lines: Callable[[Manifest, Verify], Iterator[bytes]],
        open_text: Callable[[Manifest], OpenText | None],
        on_gap: Callable[[Gap], None],
        prefetch: Callable[[Cid], Future[bytes]] | None = None,
        *,
        verify: Verify = "batch",
        blocks: Callable[[], AbstractContextManager[BlockSource]],
        keyring: Keyring = NO_KEYS,
    ) -> None:
        manifest = decoded_manifest(block)
        self.cid = cid
        self.log, self.index = manifest.log, manifest.index
        self.first = FIRST_MOMENT if manifest.first == 0 else moment_text(manifest.first)
        self.last = moment_text(manifest.last)
        self.records, self.size = manifest.records, manifest.size
        self.has_records = manifest.payload_encoding.has_records
        self.before = (manifest.prev, manifest.jump)
        """CIDs of the earlier manifests that it names."""
        self.act = manifest.ext.get(EXT_KEY)
        """The act in its manifest, not decoded; `None` if it has none."""
        self.pruned: PrunedError | None = None
        """Why its payload is gone; `None`: no act says that it was given up."""
        self.index_page: Callable[[str, Sequence[int]], bool] | None = None
        """Says whether the batch may hold one of some ids in a field."""
        self.kid = kid_in(manifest)
        """The name of the key that it is encrypted to, as it says itself; `None`: it is not encrypted."""
        self.erased: ErasedError | None = None
        """Why nobody can open it; `None`: no act says that its key was destroyed."""
        self.payload = manifest.payload
        """CID of its payload."""
        self._block = block
        self._lines = lines
        self._open_text = open_text
        self._on_gap = on_gap
        self._prefetch = prefetch
        self._verify = verify
        self._keyring = keyring
        self.blocks = blocks
        """Opens the source of its blocks."""

    @property
    def subsystem(self) -> str:
        """Name of the subsystem."""
        return subsystem_of(self.log)

    def zone(self) -> Mapping[str, Any]:
        """Return the zone map in the manifest; of an encrypted batch, the one that an identity opens."""
        return self._keyring.look(self.manifest()).stats

    @property
    def block(self) -> bytes:
        """The block of the manifest, hashed."""
        return self._block

    def sharpen(self) -> None:
        """Set the times of the first and last record, if those of the batch are rounded and an identity opens it."""
        opened = self._keyring.look(self.manifest()) if self._keyring.has_identities else None
        if isinstance(opened, Revealed):
            self.first, self.last = moment_text(opened.first), moment_text(opened.last)

    def manifest(self) -> Manifest:
        """Decode the manifest; it is held for some time only, for there may be very many parts."""
        return decoded_manifest(self._block)

    def verified_lines(self) -> Iterator[bytes]:
        """Yield the lines, all of them verified before the first, with their tree.

        Raises:
            LogStoreError: as `Keyring.open` and `verified_lines`.
        """
        refuse_given_up(self)
        return self._lines(self.opened(), "chain")

    def opened(self) -> Manifest:
        """Return the manifest, of an encrypted batch the revealed one.

        Raises:
            ErasedError: no identity opens it, and an act in its log says that its key was destroyed.
            LogStoreError: as `Keyring.open`.
        """
        try:
            return self._keyring.open(self.manifest())
        except NoIdentityError as error:
            if self.erased is not None and not isinstance(error, ErasedError):
                raise self.erased from error
            raise

    def may_hold(self, name: str, hashes: Sequence[int]) -> bool:
        """Say what the index of this home says; yes without one: a source that is not believed has no filters."""
        return self.index_page is None or self.index_page(name, hashes)

    def bound_to(
        self,
        lines: Callable[[Manifest, Verify], Iterator[bytes]],
        open_text: Callable[[Manifest], OpenText | None],
        prefetch: Callable[[Cid], Future[bytes]],
        blocks: Callable[[], AbstractContextManager[BlockSource]],
    ) -> ChainPart:
        """Return the same batch, whose blocks another source gives."""
        part = copy(self)
        part.bind(lines, open_text, prefetch)
        part.blocks = blocks
        return part

    def bind(
        self,
        lines: Callable[[Manifest, Verify], Iterator[bytes]],
        open_text: Callable[[Manifest], OpenText | None],
        prefetch: Callable[[Cid], Future[bytes]],
    ) -> None:
        """Get the blocks of the batch in this way from now on."""
        self._lines, self._open_text, self._prefetch = lines, open_text, prefetch

    def prefetch(self) -> Future[bytes] | None:
        """Begin to fetch the payload; return its future, by which it can be given up."""
        return None if self._prefetch is None or self.pruned is not None else self._prefetch(self.payload)

    def open_text(self) -> OpenText | None:
        """Open the records as one text; see `Part.open_text`."""
        refuse_given_up(self)
        return self._open_text(self.opened())

    def lines(self) -> Iterator[bytes]:
        """Verify all records, then yield their JSON; report a gap if they cannot be verified."""
        try:
            yield from self.lines_or_error()
        except (NoIdentityError, StoreError, FormatError, VerificationError, OSError) as error:
            self._report(error)

    def lines_or_error(self) -> Iterator[bytes]:
        """Yield the same lines; report no gap. Raises as `Keyring.open` and `verified_lines`."""
        refuse_given_up(self)
        return self._lines(self.opened(), self._verify)

    def _report(self, error: Exception) -> None:
        reason = error.message if isinstance(error, (NoIdentityError, PrunedError)) else explain_any(error)
        self._on_gap(
            Gap(
                kind=kind_of(error),
                subsystem=self.subsystem,
                log=self.log,
                index=self.index,
                reason=reason,
                records=self.records,
            )
        )
