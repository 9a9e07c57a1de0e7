"""Turn a file, a directory or bytes into an archive that waits for its batch; the CID is returned.

There is one archiver for each process, home and subsystem. When `put` returns, the bytes are on the disk in the home,
and will be in the chain exactly once, also if processes are killed. It needs a few MiB of memory for files of any size.

A path that is a symbolic link is followed; links inside a directory are stored as links, as `ipfs add -r` does. Hidden
files are archived too; mode and times are not. Pipes, sockets and devices are refused, because they have no content.

Where records are encrypted, archives are, too: to the same key, while their bytes are read, so no file in clear is
written. The CID is then that of the encrypted bytes.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.concurrency.threads import RLock
from ipfs_log_handlers.config import Encrypt, Settings
from ipfs_log_handlers.errors import ConfigurationError, HomeError
from ipfs_log_handlers.format import encrypted_archive, encryption
from ipfs_log_handlers.format.car import Put
from ipfs_log_handlers.format.cid import DAG_PB, Cid
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import data_keys, pending_archives, volume
from ipfs_log_handlers.home.data_keys import DataKey
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.home.pending_archives import Archive, ArchiveName, Ciphertext
from ipfs_log_handlers.spool.file_tree import Block, Progress, Tree, bytes_at
from ipfs_log_handlers.subsystems.registry import Subsystem

__all__ = ["ArchiveMetadata", "Archiver", "plain_json"]

_LEFT_FREE: Final = 16 << 20
"""Bytes that an archive leaves free on the disk: records come first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveMetadata:
    """Description of an archive for its manifest."""

    name: str | None = None
    """Name that all its versions share."""
    version: str | None = None
    """The version."""
    parent: str | None = None
    """CID of the version that this one was made from."""
    transformations: tuple[Any, ...] = ()
    """Steps from the parent to this version, in words or as JSON."""
    component: str | None = None
    """Label of a part of the program."""
    metadata: Mapping[str, Any] | None = None
    """Further metadata, JSON; a `type` in it becomes the type of the batch."""
    content: str | None = None
    """The CID of the content in clear, if it is stored encrypted and the CID is known."""

    def as_meta(self) -> dict[str, Any]:
        """Return the members for `meta` of the manifest."""
        metadata = plain_json(self.metadata or {})
        kind, version = metadata.get("type"), self.version or metadata.get("version")
        said = {
            "type": kind if isinstance(kind, str) and kind else None,
            "version": plain_json(version) if isinstance(version, str) and version else None,
            "name": plain_json(self.name),
            "parent": self.parent,
            "component": plain_json(self.component),
            "content": self.content,
            "transformations": plain_json(list(self.transformations)) or None,
        }
        return {name: value for name, value in said.items() if value is not None} | {"metadata": metadata}


def plain_json(value: Any) -> Any:
    """Turn a value into one that JSON and DAG-CBOR can represent; other values become text."""
    return _in_range(json.loads(json.dumps(value, default=str, skipkeys=False)))


def _in_range(value: Any) -> Any:
    if isinstance(value, dict):
        return {_in_range(str(key)): _in_range(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_in_range(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    fits = not isinstance(value, (int, float)) or (value == value and -(2**63) <= value < 2**63)  # noqa: PLR0124 - NaN
    return value if fits else str(value)


class Archiver:
    """Make archives for one process in one subsystem of one home.

    Args:
        home: the home.
        subsystem: the subsystem of the log that gets the archives.
        settings: the settings with the stores.
        made: called after each archive, outside all locks, so that it may start the keeper's thread.
    """

    def __init__(self, home: HomeDir, subsystem: Subsystem, settings: Settings, made: Callable[[], None]) -> None:
        self.subsystem = subsystem
        self.settings = settings
        self.activity = 0
        """A number that grows with every archive of this process."""
        self._subsystem_dir = home.subsystem_dir(subsystem.name)
        self._made = made
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Begin as a process that has made no archive."""
        self._lock = RLock()
        self._newest: ArchiveName | None = None
        self._waiting: set[ArchiveName] = set()

    @property
    def subsystem_dir(self) -> SubsystemDir:
        """The directory of its subsystem."""
        return self._subsystem_dir

    def waiting(self, consumed: Mapping[str, int]) -> bool:
        """Return whether an archive of this process is in no batch yet; `consumed` are the offsets in the head."""
        pending = set(pending_archives.listing(self._subsystem_dir.archived))
        self._waiting = {name for name in list(self._waiting) if name in pending and str(name) not in consumed}
        return bool(self._waiting)

    def put_bytes(self, data: bytes, facts: ArchiveMetadata) -> Archive:
        """Archive some bytes as a file. Raises as `put`."""
        return self._put(Tree(None), lambda tree: tree.of_bytes(data), len(data), facts)

    def put(
        self,
        path: Path,
        facts: ArchiveMetadata,
        progress: Progress | None = None,
        check: Callable[[Cid], object] | None = None,
    ) -> Archive:
        """Archive a file, or a directory with all its content.

        Args:
            path: the file or directory.
            facts: its description.
            progress: called with the number of bytes that were read since its last call.
            check: called with the CID that the content has in clear, before the archive counts; an exception that it
                raises refuses the archive.

        Raises:
            FileNotFoundError: the path does not exist.
            ConfigurationError: the path contains an entry that is not a file, directory or symbolic link; or it
                contains the home; or it must be encrypted, and the library for that is not installed.
            HomeError: there is no key to encrypt it to, or the key was destroyed meanwhile.
            FormatError: a name is not UTF-8, a directory has too many names, or the metadata is too long.
            OSError: the path cannot be read, or the home cannot be written. After any error, no part of the archive is
                left.
        """
        path = path.resolve(strict=True)
        if self._subsystem_dir.path.parent.resolve().is_relative_to(path):
            raise ConfigurationError(
                "this directory contains the home with its signing key",
                where=path,
                found=self._subsystem_dir.path.parent,
                hint="Archive the other parts of the directory one by one, or move the home out of it.",
            )
        blocks = Tree(progress, kind="directory" if path.is_dir() else "file")
        return self._put(blocks, lambda tree: tree.of_path(os.fspath(path), 0), bytes_at(path), facts, check)

    @property
    def encrypt(self) -> Encrypt | None:
        """The settings by which archives are encrypted: those of this program, else those of the records."""
        own = self.settings.encrypt_for(self.subsystem.name, self.subsystem.encrypt)
        return own or policy_of(self._subsystem_dir).encrypt

    def put_again(
        self,
        car: Path,
        root: Cid,
        kind: str | None,
        size: int | None,
        facts: ArchiveMetadata,
        ciphertext: Ciphertext | None = None,
    ) -> Archive:
        """Archive the content of an existing archive again, with another description; its blocks are not read again.

        Args:
            car: the CAR in the home that contains the blocks.
            root: the root of the blocks.
            kind: `file` or `directory`; `None`: it is encrypted, and this program cannot open it.
            size: bytes of all files; `None`: as for `kind`.
            facts: the new description.
            ciphertext: what the blocks are encrypted to; `None`: they are in clear.

        Raises:
            FileNotFoundError: the CAR now has another name.
            ConfigurationError: archives of this subsystem are encrypted, and the blocks are in clear.
        """
        if ciphertext is None and self.encrypt is not None:
            raise ConfigurationError(
                "archives of this subsystem are encrypted, and the blocks of the older version are not",
                where=self.subsystem.name,
                hint="Archive the content itself again.",
            )
        name = self._draw()
        archive = self._describe(name, facts, root, kind, size, None, car.stat().st_size, ciphertext)
        pending_archives.write_again(self._subsystem_dir.archived, car, archive)
        self._note(name)
        return archive

    def _put(
        self,
        tree: Tree,
        blocks: Callable[[Tree], Iterator[Block]],
        size: int,
        facts: ArchiveMetadata,
        check: Callable[[Cid], object] | None = None,
    ) -> Archive:
        name = self._draw()
        facts.as_meta()
        HomeDir(self._subsystem_dir.path.parent).make()
        key = self._key(name.moment)
        if volume.free_bytes(self._subsystem_dir.path.parent) < size + _LEFT_FREE:
            raise OSError(
                errno.ENOSPC,
                f"not enough space for an archive of {size:,} bytes: {_LEFT_FREE:,} bytes stay free for records",
            )

        made = _InClear() if key is None else _Encrypted(key)

        def describe(root: Cid, car_bytes: int) -> Archive:
            if check is not None:
                check(made.content)
            self._refuse_destroyed(key)
            described = replace(facts, content=None if key is None else made.content.text)
            return self._describe(name, described, root, tree.kind, tree.size, tree.files, car_bytes, made.ciphertext)

        def fill(put: Put) -> None:
            made.fill(blocks(tree), tree, put)

        archive = pending_archives.write(self._subsystem_dir.archived, name, fill, describe)
        self._note(name)
        return archive

    def _key(self, now: int) -> DataKey | None:
        """Return the key to which an archive is encrypted that is made now; `None`: it stays in clear."""
        encrypt = self.encrypt
        if encrypt is None:
            return None
        with fork.importing():
            encryption.age_library()
        return data_keys.key_for(HomeDir(self._subsystem_dir.path.parent), self.subsystem.name, encrypt, now)

    def _refuse_destroyed(self, key: DataKey | None) -> None:
        """Refuse an archive whose key was destroyed while it was made: nobody could open it."""
        if key is None:
            return
        state = data_keys.state(HomeDir(self._subsystem_dir.path.parent), key.kid)
        if state not in ("present", "issued"):
            raise HomeError(
                f"the key {key.kid} was destroyed while the archive was made",
                found=state,
                hint="Archive it again: it gets another key.",
            )

    def _draw(self) -> ArchiveName:
        """Choose a name that sorts after each pending archive, even if the clock was set back."""
        with self._lock:
            waiting = pending_archives.listing(self._subsystem_dir.archived)[-1:]
            self._newest = ArchiveName.new(max([*waiting, *([self._newest] if self._newest else [])], default=None))
            return self._newest

    def _describe(
        self,
        name: ArchiveName,
        facts: ArchiveMetadata,
        root: Cid,
        kind: str | None,
        size: int | None,
        files: int | None,
        car_bytes: int,
        ciphertext: Ciphertext | None = None,
    ) -> Archive:
        about: dict[str, Any] = {"kind": kind, "archived": rfc3339(name.moment), "files": files}
        if ciphertext is not None:
            about["bytes"] = size
        stores: dict[str, Any] = {}
        if self.settings.kubo:
            stores = {"stores": list(self.settings.kubo), "replicas": self.settings.replicas}
            stores["pins"] = list(self.settings.pins)
        return Archive(
            name=name,
            subsystem=self.subsystem.name,
            root=root,
            kind=kind or "file",
            size=size or 0,
            car_bytes=car_bytes,
            meta={**facts.as_meta(), **{key: value for key, value in about.items() if value is not None}},
            settings=stores,
            ciphertext=ciphertext,
        )

    def _note(self, name: ArchiveName) -> None:
        with self._lock:
            self._waiting.add(name)
            self.activity += 1
        self._made()


class _InClear:
    """Blocks that are stored as they are."""

    ciphertext: Ciphertext | None = None
    content = Cid.of(DAG_PB, b"")
    """The root, when the blocks are stored."""

    def fill(self, blocks: Iterator[Block], tree: Tree, put: Put) -> None:
        """Store the blocks."""
        del tree
        for cid, block in blocks:
            put(cid, block)
            self.content = cid


class _Encrypted(_InClear):
    """Blocks whose content is stored encrypted."""

    def __init__(self, key: DataKey) -> None:
        self._key = key

    def fill(self, blocks: Iterator[Block], tree: Tree, put: Put) -> None:
        """Store the encrypted content of the blocks."""
        made = encrypted_archive.encrypt(blocks, tree.kind, self._key.recipient, put)
        self.content = made.content
        self.ciphertext = Ciphertext(kid=self._key.kid, recipient=self._key.recipient, size=made.size, raw=made.raw)
