"""List the archives of a home and find their versions. `archive_content.py` reads their bytes.

A version is one archive that was made under a name. It is listed from the moment it is durable: in the spool, then in
the chain, also when its blocks have left the home and only stores have them. The description of an encrypted one is
encrypted, too, when it is in the chain: without an identity, such a version has no name, and is *closed*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, Literal

from ipfs_log_handlers.errors import ConfigurationError, ErasedError, FormatError, NoIdentityError
from ipfs_log_handlers.format import encryption
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.moment import micros, rfc3339
from ipfs_log_handlers.home import disk, pending_archives
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import logs_of, policy_of
from ipfs_log_handlers.home.pending_archives import Ciphertext
from ipfs_log_handlers.reader.keyring import NO_KEYS, Keyring
from ipfs_log_handlers.spool.archiver import ArchiveMetadata

__all__ = [
    "Version",
    "as_of",
    "find",
    "history_of",
    "next_version",
    "parent_of",
    "refuse_used_version",
    "versions",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One archive."""

    subsystem: str
    """Name of the subsystem."""
    archive: str
    """The unique name that it had while it was pending."""
    root: Cid
    """CID of the file or directory."""
    meta: dict[str, Any]
    """`meta` of its manifest, or of the manifest that it will get."""
    size: int | None
    """Bytes of all its files; `None` when the home does not say it."""
    ciphertext: Ciphertext | None = None
    """Of an encrypted archive: the key, and the sizes of what is encrypted."""
    closed: Literal["encrypted", "erased"] | None = None
    """Why the description cannot be read: no identity opens it, or its key was destroyed; `None`: it is there."""
    log: str | None = None
    """Name of the log that it is in; `None` while it is pending."""
    index: int | None = None
    """Number of its batch; `None` while it is pending."""
    manifest: Cid | None = None
    """CID of its manifest; `None` while it is pending."""
    state: str = "durable"
    """`durable` while it is pending, `sealed` in the chain, `shipped` when as many stores as configured have it."""
    files: tuple[Path, ...] = ()
    """Paths of the CAR files with its blocks; empty when the blocks have left the home."""
    stores: tuple[str, ...] = ()
    """Addresses of the stores that may have its blocks."""

    @property
    def name(self) -> str | None:
        """The name that all its versions share."""
        return _text(self.meta.get("name"))

    @property
    def version(self) -> str | None:
        """Name of the version."""
        return _text(self.meta.get("version"))

    @property
    def content(self) -> Cid | None:
        """The CID of the file or directory in clear; `None`: it is encrypted, and its description does not say it."""
        text = _text(self.meta.get("content"))
        return self.root if self.ciphertext is None else Cid.parse(text) if text else None

    def has_cid(self, cid: Cid) -> bool:
        """Return whether a CID is that of the archive, of its content in clear, or of its manifest."""
        return cid in (self.root, self.content, self.manifest)

    @property
    def kind(self) -> str:
        """`file` or `directory`."""
        return str(self.meta.get("kind", "file"))

    @property
    def archived(self) -> str:
        """Time at which it was made, RFC 3339; of a closed one, the minute in which it was sealed."""
        return str(self.meta.get("archived", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata that the program gave."""
        metadata = self.meta.get("metadata")
        return metadata if isinstance(metadata, dict) else {}

    def as_json(self) -> dict[str, Any]:
        """Return the archive with the keys of `ipfs-logs versions`."""
        return {
            "name": self.name,
            "version": self.version,
            "cid": self.root.text,
            "parent": self.meta.get("parent"),
            "transformations": self.meta.get("transformations", []),
            "archived": self.archived,
            "kind": None if self.closed else self.kind,
            "size": self.size,
            "encrypted": self.ciphertext is not None,
            "closed": self.closed,
            "files": self.meta.get("files"),
            "component": self.meta.get("component"),
            "subsystem": self.subsystem,
            "type": self.meta.get("type"),
            "log": self.log,
            "index": self.index,
            "manifest": self.manifest and self.manifest.text,
            "state": self.state,
            "metadata": self.metadata,
        }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def versions(home: HomeDir, subsystems: Sequence[str] | None = None, *, keyring: Keyring = NO_KEYS) -> list[Version]:
    """List every archive of a home, oldest first; a batch that cannot be read is left to `verify`.

    The archives of one subsystem stand in the order of its log, whatever the clock said when they were made.

    Args:
        home: the home.
        subsystems: only these.
        keyring: opens the descriptions of encrypted archives.

    Raises:
        OSError: the home cannot be read.
    """
    dated: list[tuple[str, Version]] = []
    for subsystem_dir in home.subsystem_dirs():
        if subsystems is None or subsystem_dir.name in subsystems:
            pending = list(_pending(subsystem_dir))  # first: an archive that is sealed meanwhile is not missed
            sealed = {version.archive: version for version in _sealed(subsystem_dir, keyring)}
            newest = ""
            for version in (*sealed.values(), *(version for version in pending if version.archive not in sealed)):
                newest = max(newest, version.archived)
                dated.append((newest, version))
    dated.sort(key=itemgetter(0))
    return [version for _, version in dated]


def _pending(subsystem_dir: SubsystemDir) -> Iterator[Version]:
    policy = policy_of(subsystem_dir)
    for archive in pending_archives.load_all(subsystem_dir.archived, {}):
        yield Version(
            subsystem=subsystem_dir.name,
            archive=str(archive.name),
            root=archive.root,
            meta={"type": policy.type, **archive.meta},
            size=archive.size if archive.ciphertext is None else _number(archive.meta.get("bytes")),
            ciphertext=archive.ciphertext,
            files=(pending_archives.car_file(subsystem_dir.archived, archive.name),),
        )


def _sealed(subsystem_dir: SubsystemDir, keyring: Keyring) -> Iterator[Version]:
    policy = policy_of(subsystem_dir)
    for log in logs_of(subsystem_dir):
        shipped = log.confirmations(policy.replicas)
        for index in log.batches.archives(log.newest):
            with suppress(FormatError, OSError):
                facts = log.batches.facts(index)
                if facts.manifest.payload_encoding.has_records:
                    continue
                beside = log.batches.payload_file(index)
                manifest, ciphertext, closed = _opened(facts.manifest, keyring)
                meta = {"archived": rfc3339(manifest.sealed)} if closed else dict(manifest.meta)
                yield Version(
                    subsystem=subsystem_dir.name,
                    archive=str(meta.get("archive", facts.cid.text)),
                    root=manifest.payload,
                    meta=meta,
                    size=manifest.size if ciphertext is None else _number(meta.get("bytes")),
                    ciphertext=ciphertext,
                    closed=closed,
                    log=log.name,
                    index=index,
                    manifest=facts.cid,
                    state="shipped" if shipped.has(index) else "sealed",
                    files=(beside,) if disk.exists(beside) else (),
                    stores=tuple(log.holders(index, policy.stores)),
                )


def _opened(
    manifest: Manifest, keyring: Keyring
) -> tuple[Manifest, Ciphertext | None, Literal["encrypted", "erased"] | None]:
    """Return the manifest with its true claims if it can be opened, the ciphertext, and why it is closed."""
    if not encryption.is_encrypted(manifest):
        return manifest, None, None
    envelope = encryption.Envelope.of(manifest)
    closed: Literal["encrypted", "erased"] | None = None
    try:
        manifest = keyring.open(manifest)
    except NoIdentityError as error:
        closed = "erased" if isinstance(error, ErasedError) else "encrypted"
    ciphertext = Ciphertext(kid=envelope.kid.text, recipient=envelope.recipient, size=manifest.size, raw=manifest.raw)
    return manifest, ciphertext, closed


def _number(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None


def find(home: HomeDir, wanted: Cid, *, keyring: Keyring = NO_KEYS) -> Version | None:
    """Find the newest archive whose root or manifest has this CID; prefer one whose blocks are in the home.

    An encrypted one is also found by the CID of its content, if the keyring opens it.
    """
    every = versions(home, keyring=keyring)
    fitting = [version for version in every if version.has_cid(wanted)]
    return max(reversed(fitting), key=lambda version: bool(version.files), default=None)


def as_of(history: Sequence[Version], when: str | None) -> Version | None:
    """Find the version of a history that `when` names.

    Args:
        history: versions under one name.
        when: a version as it was given, else a CID (`Version.has_cid`), else a time (RFC 3339, or the beginning of
            one): the newest version made at or before it. `None`: the newest.
    """
    if when is None:
        return history[-1] if history else None
    named = [version for version in history if when == version.version]
    if named:
        return named[-1]
    with suppress(FormatError):
        wanted = Cid.parse(when)
        return next((version for version in reversed(history) if version.has_cid(wanted)), None)
    moment = _moment(when)
    if moment is None:
        return None
    before = [version for version in history if (made := micros(version.archived)) is not None and made <= moment]
    return before[-1] if before else None


def history_of(every: Sequence[Version], name: str) -> list[Version]:
    """Select the versions of a name, oldest first.

    Args:
        every: the archives of a home, oldest first.
        name: a name, or the CID of a version (`Version.has_cid`): then that one and the versions of its name.
    """
    named = [version for version in every if version.name == name]
    if named:
        return named
    try:
        wanted = Cid.from_user(name)
    except FormatError:
        return []
    meant = [version for version in every if version.has_cid(wanted)]
    names = {version.name for version in meant} - {None}
    return [version for version in every if version in meant or version.name in names]


def parent_of(version: Version, older: Sequence[Version]) -> str | None:
    """Return the name of the version that an archive was made from.

    Equal contents have equal CIDs, so among several parents that fit, the newest one is meant unless one is named.

    Args:
        version: the archive.
        older: the archives made before it, oldest first.

    Returns:
        The parent's version; the first characters of its CID when this home does not have it; `None` without a parent.
    """
    parent = version.meta.get("parent")
    if not isinstance(parent, str):
        return None
    fitting = [
        other.version
        for other in older
        if (other.root.text, other.name, other.subsystem) == (parent, version.name, version.subsystem) and other.version
    ]
    named = version.metadata.get("parent_version")
    return named if named in fitting else fitting[-1] if fitting else f"{parent[:12]}…"


def next_version(
    history: Sequence[Version],
    name: str,
    *,
    version: str | None = None,
    component: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    closed: int = 0,
) -> ArchiveMetadata:
    """Describe the next version of a name: its parent is the newest one, its version the next number that is free.

    Args:
        history: the versions of that name in one subsystem, oldest first.
        name: the name.
        version: the name of the version; `None`: the next free number.
        component: the part of a program that it comes from.
        metadata: extra metadata.
        closed: number of archives whose names are not known, so that each of them may be a version of this name.
    """
    used = {older.version for older in history}
    numbers = map(str, itertools.count(len(history) + closed + 1))
    return ArchiveMetadata(
        name=name,
        version=version or next(number for number in numbers if number not in used),
        parent=history[-1].root.text if history else None,
        component=component,
        metadata=metadata,
    )


def refuse_used_version(history: Sequence[Version], metadata: ArchiveMetadata, root: Cid) -> None:
    """Refuse a version that another content has already, because `--as-of` could select only one of them.

    Raises:
        ConfigurationError: the version belongs to another content.
    """
    for older in history:
        if older.version == metadata.version and older.content != root:
            raise ConfigurationError(
                f"{metadata.name} has a version {metadata.version} already ({older.content or older.root}); "
                "give another version, or none to number it"
            )


_LATEST: Final = "9999-12-31T23:59:59.999999"
"""Text that completes the beginning of a time to the last moment that it can mean."""


def _moment(text: str) -> int | None:
    """Return the last µs, in UTC, that a time or the beginning of one can mean."""
    bare = text.strip().removesuffix("Z").replace(" ", "T")
    if len(bare) < 4 or len(bare) > len(_LATEST):
        return None
    for last in ("31", "30", "29", "28"):
        whole = bare + _LATEST[len(bare) :]
        if len(bare) < 10:
            whole = f"{whole[:8]}{last}{whole[10:]}"
        moment = micros(whole)
        if moment is not None:
            return moment
    return None
