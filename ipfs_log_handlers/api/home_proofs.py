"""Verify the logs of a home, and prove one of its records."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.api.home_reader import HomeReader
from ipfs_log_handlers.errors import RecordError

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.query.times import Moment
    from ipfs_log_handlers.reader.identities import Identities
    from ipfs_log_handlers.verify.report import Report

__all__ = ["HomeProofs"]


class HomeProofs(HomeReader):
    """The methods of `Home` that verify and prove."""

    __slots__ = ()

    def verify(
        self,
        subsystems: Sequence[str] | None = None,
        *,
        keys: Sequence[str] = (),
        progress: Callable[[str, int, int], None] | None = None,
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        on_store_problem: Callable[[str, str], None] | None = None,
        since: Moment | None = None,
        sample: int | None = None,
        memory: bool | str | Path = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> Iterator[Report]:
        """Check the whole chain of each log: signatures, hashes, order, counts. Yield one report for each log.

        The logs of other homes that were imported or mirrored come last; their reports have an `origin`.

        Args:
            subsystems: only these.
            keys: the verifier keys to trust; empty: the home's own key, and for logs of other homes those that were
                given when they came in.
            progress: called with the subsystem, the number of checked batches, and the number of all its batches.
            stores: addresses of stores that are asked for manifests which the home does not have, beside those of
                `IPFS_LOGS_KUBO` and of handlers that are open in this process. It is a problem of the log if a number
                has two manifests, or if a store has manifests after the end of the log.
            token: credential of these stores.
            fetch: also ask stores whose address is only in the home's files; they get no credential.
            on_store_problem: called with the address of a store that did not answer every question, and the reason.
            since: only the payloads of batches with a record of this time or later; every manifest is checked.
            sample: only the payloads of so many batches of each log, drawn at random, and of the newest one.
            memory: the directory of the heads that this reader remembers; `True`: the default one. The head of each
                log must continue the remembered one, and is remembered. So a home that was set back is found.
            identity: as for `dataset`. Of encrypted batches that no identity opens, all but the records is verified.
            key_directory: as for `dataset`.

        Raises:
            ConfigurationError: an address is malformed, or a token was given without an address.
            OSError: the memory cannot be written.
            FormatError: a verifier key is malformed. Problems of a log are in its report; they raise no error.
        """
        from ipfs_log_handlers.format.checkpoint import VerifierKey
        from ipfs_log_handlers.query.times import moment_of
        from ipfs_log_handlers.reader.identities import keyring_of
        from ipfs_log_handlers.verify.log import listed_subsystems, verify
        from ipfs_log_handlers.verify.remembering import with_memory
        from ipfs_log_handlers.verify.selection import Selection
        from ipfs_log_handlers.verify.stores import StoreView

        signed = listed_subsystems(self._dir)  # also those whose directories were deleted
        names = None if subsystems is None else list(subsystems)
        known = {*signed, *(self.imported_subsystems if names is not None else ())}
        self.chosen([name for name in names or () if name not in known])
        trusted = [VerifierKey.parse(text) for text in keys]
        chosen = self._addresses(stores)
        asked = tuple(address for address in chosen.all if fetch or address in chosen.named)
        view = StoreView(asked, chosen.credentials(token), on_store_problem or _ignore) if asked or token else None
        micros = None if since is None else moment_of(since, now=time.time())
        selection, keyring = Selection(micros, sample), keyring_of(identity, key_directory, self.path)
        reports = verify(
            self._dir, names, trusted=trusted, progress=progress, stores=view, selection=selection, keyring=keyring
        )
        if self._has_imported:
            from ipfs_log_handlers.verify.imported import verify_imported

            others = verify_imported(
                self._dir, names, trusted=trusted, progress=progress, selection=selection, keyring=keyring
            )
            reports = chain(reports, others)
        return with_memory(reports, memory, os.path.realpath(self.path), names)

    # -- proofs

    def prove(
        self,
        cid: str,
        number: int,
        *,
        keys: Sequence[str] = (),
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> bytes:
        """Make the bundle that proves one record, which `check` reads without a home and without a network.

        Args:
            cid: CID of the batch: of its manifest or its payload, in any usual form.
            number: number of the record in the batch, from 0.
            keys: the verifier keys to trust: one of them must have signed the batch.
            stores: addresses that are asked for a payload which has left the home, as for `dataset`.
            token: credential of these stores.
            fetch: also ask stores whose address is only in the home's files; they get no credential.
            identity: opens the batch if it is encrypted, as for `dataset`.
            key_directory: as for `dataset`.

        Raises:
            RecordError: no batch has this CID, or it has no such record.
            NoIdentityError: the batch is encrypted, and no identity opens it.
            VerificationError: the batch is damaged, or no head that is trusted leads to it.
            StoreUnavailable: no store has the payload of the batch.
            FormatError: the text is not a CID, or a key is malformed.
        """
        from ipfs_log_handlers.api.proving import proved

        detail = self.batch_with_cid(cid)
        if detail is None:
            raise RecordError(
                "no batch has this CID", where=self.path, found=cid, hint="`ipfs-logs ls` lists all batches."
            )
        with self.dataset(
            keys=keys, stores=stores, token=token, fetch=fetch, identity=identity, key_directory=key_directory
        ) as dataset:
            return proved(dataset.sources[0], detail.log, detail.index, number)

    def prove_seq(
        self,
        subsystem: str,
        seq: int,
        *,
        pid: int | None = None,
        progress: Callable[[int, int], None] | None = None,
        keys: Sequence[str] = (),
        stores: Sequence[str] = (),
        token: str | None = None,
        fetch: bool = False,
        identity: Identities | None = None,
        key_directory: str | Path | None = None,
    ) -> bytes:
        """Make the same bundle for the record with a sequence number.

        Args:
            subsystem: its subsystem.
            seq: its number: each process counts the records of a subsystem from 1.
            pid: its process, where several have a record with this number.
            progress: called with the number of batches that were looked at, and of all.
            keys: as for `prove`.
            stores: as for `prove`.
            token: as for `prove`.
            fetch: as for `prove`.
            identity: as for `prove`.
            key_directory: as for `prove`.

        Raises:
            RecordError: there is no such record; it is not sealed yet; or several processes have one.
            ConfigurationError: the home does not have the subsystem.
            VerificationError, StoreUnavailable, FormatError: as for `prove`.
        """
        from ipfs_log_handlers.api.proving import proved
        from ipfs_log_handlers.query.proving import places_of_seq, the_only

        self._own([subsystem])  # an error if neither this home nor an imported log has it
        with self.dataset(
            keys=keys, stores=stores, token=token, fetch=fetch, identity=identity, key_directory=key_directory
        ) as dataset:
            source = dataset.sources[0]
            places = list(places_of_seq(source, subsystem, seq, pid, progress or _ignore))
            of = "" if pid is None else f" of process {pid}"
            found = the_only(places, f"record {seq}{of} in {subsystem}")
            return proved(source, found.part.log, found.part.index, found.number)


def _ignore(*_: object) -> None:
    """Ignore progress, or that a store could not be asked."""
