"""List the batches in CAR files: files of a home, exported logs, uploads, or the output of `ipfs dag export`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from ipfs_log_handlers.errors import ConfigurationError, FormatError, VerificationError
from ipfs_log_handlers.format import car, snapshot
from ipfs_log_handlers.format.checkpoint import VerifierKey, subsystem_of
from ipfs_log_handlers.format.cid import DAG_CBOR, RAW, Cid
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.format.manifest import MAX_BLOCK, Manifest
from ipfs_log_handlers.format.snapshot import Snapshot
from ipfs_log_handlers.home import disk
from ipfs_log_handlers.reader.acts_of_parts import mark_acts
from ipfs_log_handlers.reader.batch import OpenBatch
from ipfs_log_handlers.reader.chain_check import refuse_differences
from ipfs_log_handlers.reader.chain_part import ChainPart, decoded_manifest
from ipfs_log_handlers.reader.chain_places import place_in
from ipfs_log_handlers.reader.chosen_parts import chosen_parts
from ipfs_log_handlers.reader.gaps import Gap
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.reader.parts import OpenText, Part, Reads, Verify
from ipfs_log_handlers.reader.sealed import check_head, open_text_in, verified_lines
from ipfs_log_handlers.reader.sealed_log import OpenedBatch, SealedLog, among
from ipfs_log_handlers.reader.source import BlockSource, CarBlocks, PlacedBlocks
from ipfs_log_handlers.stores import MissingBlockError

__all__ = ["CarSource", "car_files"]


def car_files(path: Path) -> list[Path]:
    """List the CAR files that a path means: itself, also through a link, or all `.car` below a directory.

    Raises:
        ConfigurationError: there is no CAR file.
    """
    files = sorted(path.rglob("*.car")) if path.is_dir() else [Path(os.path.realpath(path))] if path.is_file() else []
    files = [file for file in files if not file.name.endswith(".payload.car")]
    if not files:
        raise ConfigurationError("this path has no CAR file", where=path)
    return files


class _Found(NamedTuple):
    """What was found in the files so far, and the file that is looked at."""

    file: Path
    blocks: PlacedBlocks
    places: dict[Cid, tuple[int, int]]
    parts: dict[Cid, ChainPart]
    heads: list[Head]
    noted: set[Cid]
    """The manifests in this file that were hashed and noted."""

    def has_manifest(self, cid: Cid) -> bool:
        """Return whether the file has a manifest; if its payload was given up, it is in the file as a raw block."""
        raw = cid.as_codec(RAW)
        if cid not in self.places and raw in self.places:
            self.places[cid] = self.places[raw]
        return cid in self.places


class _Place(NamedTuple):
    """Where a batch is."""

    cid: Cid
    """CID of its manifest."""
    number: int
    """Number of the batch."""
    file: Path
    """The file with its manifest."""
    blocks: Mapping[Cid, tuple[int, int]]
    """Offset and size of each block in the file."""


class CarSource:
    """The records of batches in CAR files.

    Args:
        files: the files; no link is followed.
        on_gap: called with each file and each batch that cannot be read.
        keys: keys that must have signed the heads; a batch without a path from a signed head is reported and left out.
            Empty: no signature is checked.
        verify: as for `verified_lines`; blocks are always hashed.
        listed: lists the files again, when one of them was replaced by another with the same blocks; `None`: never.
        keyring: opens encrypted batches.
    """

    def __init__(
        self,
        files: Sequence[Path],
        on_gap: Callable[[Gap], None],
        *,
        keys: Sequence[VerifierKey] = (),
        verify: Verify = "batch",
        listed: Callable[[], Sequence[Path]] | None = None,
        keyring: Keyring = NO_KEYS,
    ) -> None:
        self._listed = listed
        self._files = files
        self._keyring = keyring
        self._on_gap = on_gap
        self._keys = keys
        self._verify = verify
        self._parts: list[ChainPart] | None = None
        self._heads: dict[Cid, Head] = {}
        self._places: dict[Cid, _Place] = {}
        self.whole_logs: set[str] = set()
        """Names of the logs of which a snapshot is here: every batch from the first one on must be here, too."""

    def subsystems(self) -> Sequence[str]:
        """Name the subsystems of the batches."""
        return sorted({part.subsystem for part in self._loaded()})

    def parts(self, subsystem: str, reads: Reads | None = None) -> Sequence[Part]:
        """List the batches of a subsystem by log and number; the files are read once.

        Args:
            subsystem: its name.
            reads: counts the manifests.

        Raises:
            OSError: a file cannot be read.
        """
        return chosen_parts(self._loaded(), subsystem, reads)

    def chains(self) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        """Return the newest head that is here and all batches of each log, by its name; raises as `parts`.

        Where the newest batch has no head, no signature tells what the log is, and the head is `None`.
        """
        return self._chains_of(self._loaded())

    def _chains_of(self, parts: Sequence[ChainPart]) -> dict[str, tuple[Head | None, Sequence[ChainPart]]]:
        logs: dict[str, list[ChainPart]] = {}
        for part in parts:
            logs.setdefault(part.log, []).append(part)
        newest = {(head.log, head.index): head for head in self._heads.values()}
        return {log: (newest.get((log, parts[-1].index)), parts) for log, parts in logs.items()}

    def heads(self, log: str) -> Sequence[Head]:
        """List the heads of a log that are here, oldest first; raises as `parts`."""
        self._loaded()
        return sorted((head for head in self._heads.values() if head.log == log), key=lambda head: head.index)

    def is_whole(self, log: str) -> bool:
        """Return whether every batch of a log from the first one on must be here; raises as `parts`."""
        self._loaded()
        return log in self.whole_logs

    def place_of(self, cid: Cid) -> tuple[str, int] | None:
        """Find the log and the number of the batch that a head block or a manifest names; raises as `place_in`."""
        return place_in(self._loaded(), cid, self._head_block)

    def _head_block(self, cid: Cid) -> bytes:
        if cid not in self._heads:
            raise FormatError("no head block of that CID is in the CAR files", found=cid.text)
        return self._heads[cid].encode()

    def sealed_log(self, name: str) -> SealedLog:
        """Return what records of a log are proved from, up to its newest head that is in the files."""
        parts = [part for part in self._loaded() if part.log == name]
        heads: dict[int, Head] = {}
        for head in self._heads.values():
            with suppress(VerificationError):
                if head.log == name:
                    check_head(head, self._keys)
                    heads[head.index] = head
        cids, manifest = {part.index: part.cid for part in parts}, among(parts)

        @contextmanager
        def open_batch(index: int) -> Iterator[OpenedBatch]:
            described, cid = manifest(index), cids[index]
            place = self._places[cid]
            opened = self._keyring.open(described)
            with self._opened(place) as blocks:
                batch = OpenBatch(blocks, cid, cid)
                yield OpenedBatch(opened, batch, partial(_refuse, place.file), heads.get(index))

        return SealedLog(name, heads[max(heads)] if heads else None, manifest, open_batch)

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _loaded(self) -> list[ChainPart]:
        if self._parts is None:
            parts: dict[Cid, ChainPart] = {}
            heads: list[Head] = []
            for file in self._files:
                self._look(file, parts, heads)
            if self._keys:
                self._leave_out_unsigned(parts, heads)
            known = sorted(parts.values(), key=lambda part: (part.log, part.index))
            self._heads = {head.cid: head for head in heads}
            if self._verify == "chain":
                for log, (head, chain) in self._chains_of(known).items():
                    refuse_differences(log, chain, head, whole=log in self.whole_logs)
            mark_acts(known)
            self._parts = known
        return self._parts

    def _look(self, file: Path, parts: dict[Cid, ChainPart], heads: list[Head]) -> None:
        """Note the manifests and heads anywhere in a file, and the snapshots among its roots and its first two blocks.

        A pack has the manifests and heads of many batches, one batch after the other, and only one root. After a
        damaged block, or before the place where a file is cut, the other batches are noted.
        """
        try:
            with disk.stream(file) as stream:
                roots, sections = car.scan_with_roots(stream)
                places: dict[Cid, tuple[int, int]] = {}
                try:
                    for cid, offset, size in sections:
                        places.setdefault(cid, (offset, size))
                except FormatError as error:
                    self._report_file(file, str(error))
                found = _Found(file, PlacedBlocks(stream, places), places, parts, heads, set())
                beginnings = {*roots, *islice(places, 2)}
                for root in roots:
                    if root not in places:
                        self._report_file(file, f"the block of its root is not in the file: {root.text}")
                for cid, (_, size) in list(places.items()):
                    is_small = size <= MAX_BLOCK or cid in beginnings
                    if cid.codec == RAW and cid in roots and found.has_manifest(cid.as_codec(DAG_CBOR)):
                        cid = cid.as_codec(DAG_CBOR)  # noqa: PLW2901 - a manifest whose payload was given up
                    if cid.codec == DAG_CBOR and is_small and cid not in found.noted:
                        self._note(found, cid, may_be_snapshot=cid in beginnings)
        except FormatError as error:
            self._report_file(file, str(error))
        except disk.WrongFileError as error:
            self._report_file(file, error.strerror or str(error))

    def _report_file(self, file: Path, reason: str) -> None:
        self._on_gap(Gap(kind="damaged", subsystem="", log="", index=None, reason=reason, segment=str(file)))

    def _note(self, found: _Found, cid: Cid, *, may_be_snapshot: bool) -> None:
        """Note a manifest, a head or a snapshot; report a damaged block."""
        try:
            block = found.blocks.block(cid)
            with suppress(FormatError):
                self._note_manifest(found, cid, block)
                return
            with suppress(FormatError):
                found.heads.append(Head.decode(block))
                return
            root = None
            with suppress(FormatError):
                root = Snapshot.decode(block) if may_be_snapshot else None
            if root is not None:
                self._note_snapshot(found, root)
        except (FormatError, VerificationError) as error:
            self._report_file(found.file, str(error))

    def _note_manifest(self, found: _Found, cid: Cid, block: bytes) -> None:
        place = _Place(cid, decoded_manifest(block).index, found.file, found.places)
        part = ChainPart(
            cid,
            block,
            partial(self._lines, place),
            partial(self._open_text, place),
            self._on_gap,
            verify=self._verify,
            blocks=partial(self._opened, place),
            keyring=self._keyring,
        )
        found.noted.add(cid)
        found.parts.setdefault(cid, part)
        self._places.setdefault(cid, place)

    def _note_snapshot(self, found: _Found, root: Snapshot) -> None:
        """Note head and manifests of a snapshot; report those that the file does not have."""
        manifests = snapshot.read_manifests(root, lambda cids: map(found.blocks.block, cids))
        head = Head.decode(found.blocks.block(root.head))
        snapshot.check_signed(root, head, manifests)
        found.heads.append(head)
        self.whole_logs.add(root.log)
        for index, cid in enumerate(manifests):
            if cid in found.noted:
                continue
            if found.has_manifest(cid):
                self._note_manifest(found, cid, found.blocks.block(cid))
            else:
                reason = f"its manifest is not in {found.file.name}"
                subsystem = subsystem_of(root.log)
                self._on_gap(Gap(kind="absent", subsystem=subsystem, log=root.log, index=index, reason=reason))

    def _lines(self, place: _Place, manifest: Manifest, verify: Verify) -> Iterator[bytes]:
        with self._opened(place) as blocks:
            batch = OpenBatch(blocks, place.cid, place.cid)
            yield from verified_lines(batch, manifest, partial(_refuse, place.file), verify=verify)

    def _open_text(self, place: _Place, manifest: Manifest) -> OpenText | None:
        with self._opened(place) as blocks:
            return open_text_in(OpenBatch(blocks, place.cid, place.cid), manifest, verify=self._verify)

    @contextmanager
    def _opened(self, place: _Place) -> Iterator[BlockSource]:
        """Open the blocks of a file with the manifest of a batch, and those of an archive in the file beside it."""
        names = (place.file.stem, f"{place.number:06}")
        paths = (place.file.with_name(f"{name}.payload.car") for name in names)
        beside = next((path for path in paths if disk.exists(path)), None)
        with ExitStack() as stack:
            stream = None
            with suppress(FileNotFoundError):
                stream = stack.enter_context(disk.stream(place.file))
            if stream is None:
                yield self._moved(place.cid, stack)
            elif beside is not None:
                yield CarBlocks(stream, stack.enter_context(disk.stream(beside)))
            else:
                yield PlacedBlocks(stream, place.blocks)

    def _moved(self, cid: Cid, stack: ExitStack) -> BlockSource:
        """Open the file that has a batch now."""
        for file in self._listed() if self._listed is not None else ():
            with suppress(FileNotFoundError):
                blocks = CarBlocks(stack.enter_context(disk.stream(file)))
                if cid in blocks or cid.as_codec(RAW) in blocks:
                    return blocks
        raise FileNotFoundError(errno.ENOENT, "the file of a batch is not there any more", cid.text)

    def _leave_out_unsigned(self, parts: dict[Cid, ChainPart], heads: Sequence[Head]) -> None:
        """Keep the batches that a signed head names, and all batches that the chain reaches from there."""
        due: list[Cid] = []
        for head in heads:
            with suppress(VerificationError):
                check_head(head, self._keys)
                due.append(head.manifest)
        signed: set[Cid] = set()
        while due:
            cid = due.pop()
            if cid in parts and cid not in signed:
                signed.add(cid)
                due += [before for before in parts[cid].before if before is not None]
        for cid in [cid for cid in parts if cid not in signed]:
            part = parts.pop(cid)
            reason = "it cannot be reached from a head that a trusted key has signed"
            self._on_gap(Gap(kind="damaged", subsystem=part.subsystem, log=part.log, index=part.index, reason=reason))


def _refuse(file: Path, cid: Cid) -> bytes:
    raise MissingBlockError("the payload is not in the CAR", where=file, found=cid.text)
