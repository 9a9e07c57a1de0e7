"""Store, load and version files, directories and bytes, as the classes of `ipfs_kit_py` call a datasets manager.

No method raises an exception: the answer says what went wrong.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError, ErasedError, FormatError, NoIdentityError
from ipfs_log_handlers.home.os_errors import explain_any
from ipfs_log_handlers.runtime.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import DEFAULT, Subsystem

if TYPE_CHECKING:
    from ipfs_log_handlers.home.pending_archives import Archive
    from ipfs_log_handlers.reader.archives import Version
    from ipfs_log_handlers.reader.identities import Identities
    from ipfs_log_handlers.reader.keyring import Keyring
    from ipfs_log_handlers.spool.archiver import ArchiveMetadata, Archiver

__all__ = ["DatasetsManager", "Disabled"]

_MORE_TYPES: Final = {"wal_archive": "wal"}
"""Subsystems for values of `type`, besides the `type` of each subsystem itself."""
_MAX_LOGGED_CALLS: Final = 10_000
"""Entries of the event log and of the provenance log; the oldest ones are dropped."""
_LOAD_ATTEMPTS: Final = 5
"""Number of times that `load` searches an archive that the keeper moves at that moment."""

Answer = dict[str, Any]


class DatasetsManager:
    """Stores files, directories and bytes as batches of a home.

    Args:
        settings: as for `IPFSHandler`: `home, kubo, token, replicas, flush_timeout, keeper, …`.

    Raises:
        ConfigurationError: a name or value is wrong.

    The constructor opens no file, uses no network and starts no thread. Any thread may call the methods, also while it
    holds locks, and in a forked child.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = Settings.parse(settings, owner="DatasetsManager")
        self._open_handler = HomeProcess.register(None, self._settings, records=False)
        self._process = self._open_handler.process
        self._events: deque[Answer] = deque(maxlen=_MAX_LOGGED_CALLS)
        self._provenance: deque[Answer] = deque(maxlen=_MAX_LOGGED_CALLS)

    @property
    def home(self) -> Path:
        """The home directory."""
        return self._settings.home

    def is_available(self) -> bool:
        """Return true: data can also be stored while no daemon runs."""
        return True

    def store(
        self,
        path: str | os.PathLike[str] | None = None,
        metadata: dict[str, Any] | None = None,
        *,
        data: bytes | str | None = None,
        subsystem: str | None = None,
        component: str | None = None,
    ) -> Answer:
        """Archive a file, a directory or bytes. When this returns, they are durable, and the path may be deleted.

        Args:
            path: the file or directory.
            metadata: a mapping that JSON can hold, at most 8 KiB; the manifest contains it. `type` chooses the
                subsystem. `name` is shared by all versions; the default is `type`, else the last part of the path.
                `version`, `parent` (a CID) and `transformations` describe the version.
            data: the bytes, instead of a path.
            subsystem: the subsystem to store in; `None`: that of `type`, else `logs`.
            component: label of a part of the program.

        Returns:
            `{"success": True, "cid", "local_path", "metadata", "distributed": True}`, or
            `{"success": False, "error"}` if the path cannot be read or the home cannot be written. Never raises.
        """
        shown = None if path is None else str(path)

        def work() -> Answer:
            archive = self._store(path, data, _mapping(metadata), subsystem, component)
            stored = archive.meta["metadata"]
            return {"success": True, "cid": archive.root.text, "local_path": shown, "metadata": stored}

        return self._answer(work, {"operation": "store", "path": shown})

    def load(
        self,
        identifier: str,
        target_path: str | os.PathLike[str] | None = None,
        *,
        identity: Identities | None = None,
    ) -> Answer:
        """Write an archive to a file or directory, from the home or from its stores; each block is verified.

        Args:
            identifier: the CID that `store` returned, the CID of the manifest, or a name (its newest version).
            target_path: the path to write, or a directory to write into. `None`: a new temporary directory, which the
                caller must delete.
            identity: files with age identities, or identities as text, that open an encrypted archive; `None`: the file
                in `IPFS_LOGS_IDENTITY`.

        Returns:
            `{"success": True, "path", "metadata", "distributed": True}`, or `{"success": False, "error"}`. Never
            raises.
        """

        def work() -> Answer:
            path, metadata = self._load(str(identifier), target_path, identity)
            return {"success": True, "path": os.fspath(path), "metadata": metadata}

        return self._answer(work, {"operation": "load", "identifier": str(identifier)})

    def version(
        self,
        dataset_id: str,
        version: str,
        parent_version: str | None = None,
        transformations: Sequence[Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Answer:
        """Record a new version of a dataset; `ipfs-logs versions` lists them.

        Args:
            dataset_id: CID or name of an archive; the new version has the same bytes, which are not copied. If there is
                no such archive, the version is a JSON file with these arguments.
            version: name of the version.
            parent_version: the version of the same dataset from which it was made.
            transformations: the steps from the parent to this version.
            metadata: further metadata.

        Returns:
            `{"success": True, "version", "cid", "metadata", "distributed": True}`, or `{"success": False, "error"}`.
            Never raises.
        """

        def work() -> Answer:
            steps = list(transformations or ())
            archive = self._version(str(dataset_id), str(version), parent_version, steps, _mapping(metadata))
            answer = {"success": True, "version": str(version), "cid": archive.root.text}
            self._provenance.append(
                {
                    "dataset_id": str(dataset_id),
                    "version": str(version),
                    "parent_version": parent_version,
                    "transformations": archive.meta.get("transformations", []),
                    "timestamp": _now(),
                    "cid": archive.root.text,
                }
            )
            return answer | {"metadata": archive.meta["metadata"]}

        return self._answer(work, None)

    def get_event_log(self) -> list[Answer]:
        """Return the last 10,000 calls of `store` and `load` of this manager, oldest first."""
        return [dict(event) for event in list(self._events)]

    def get_provenance_log(self) -> list[Answer]:
        """Return the last 10,000 versions that this manager has recorded, oldest first."""
        return [dict(version) for version in list(self._provenance)]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all data of this process in the home is shipped (without `kubo`: sealed), at most `timeout`.

        Args:
            timeout: seconds; `None`: the configured `flush_timeout`.

        Returns:
            Whether all of it is shipped (or sealed). Never raises.
        """
        try:
            return self._process.flush(self._settings.flush_timeout if timeout is None else timeout)
        except Exception:  # noqa: BLE001 - the rest stays in the home for the next start
            return False

    def close(self) -> None:
        """Flush, once. Data that is stored later is still durable, and is shipped by the next start."""
        with suppress(Exception):
            self._process.unregister(self._open_handler)

    # -- inside

    def _answer(self, work: Callable[[], Answer], event: Answer | None) -> Answer:
        """Do some work; return its answer or its error, and add an entry to the event log."""
        try:
            answer = work() | {"distributed": True}
        except Exception as error:  # noqa: BLE001 - the contract: callers hold locks and expect an answer
            answer = {"success": False, "error": explain_any(error)}
        if event is not None:
            result = {"timestamp": _now(), "success": answer["success"], "cid": answer.get("cid")}
            self._events.append({**event, **result})
        return answer

    def _archiver(self, subsystem: Subsystem) -> Archiver:
        return self._process.archiver(subsystem, self._settings)

    def _store(
        self,
        path: str | os.PathLike[str] | None,
        data: bytes | str | None,
        metadata: dict[str, Any],
        subsystem: str | None,
        component: str | None,
    ) -> Archive:
        if (path is None) == (data is None):
            raise ConfigurationError("store takes either a path or data=", found="both" if data else "neither")
        archiver = self._archiver(subsystems.get(subsystem) if subsystem else _subsystem_of(metadata.get("type")))
        about = _about(metadata, None if path is None else Path(path).name, component)
        if path is not None:
            return archiver.put(Path(path), about)
        return archiver.put_bytes(
            data.encode() if isinstance(data, str) else memoryview(b"" if data is None else data).tobytes(), about
        )

    def _load(
        self, identifier: str, target: str | os.PathLike[str] | None, identity: Identities | None
    ) -> tuple[Path, dict[str, Any]]:
        keyring = self._keyring(identity)
        from ipfs_log_handlers.reader import archive_content

        own = dict.fromkeys(self._settings.kubo, self._settings.token)
        for attempt in range(_LOAD_ATTEMPTS):
            version = self._find(identifier, keyring)
            try:
                with (
                    archive_content.open_archive(version, own=own, keyring=keyring) as archive,
                    _target(target, version) as path,
                ):
                    archive.restore(path)
                    return path, version.metadata
            except FileNotFoundError:  # the keeper has just sealed the archive, or retention has deleted it
                if attempt == _LOAD_ATTEMPTS - 1:
                    raise
        raise AssertionError

    def _keyring(self, identity: Identities | None = None) -> Keyring:
        _import_reader()
        from ipfs_log_handlers.reader.identities import keyring_of

        return keyring_of(identity, None, self._process.home.path)

    def _find(self, identifier: str, keyring: Keyring) -> Version:
        from ipfs_log_handlers.format.cid import Cid
        from ipfs_log_handlers.reader import archives
        from ipfs_log_handlers.reader.gaps import NO_IDENTITY_HINT

        home = self._process.home
        every = archives.versions(home, keyring=keyring)
        named = archives.as_of([version for version in every if version.name == identifier], None)
        if named is not None:
            return named
        try:
            cid = Cid.from_user(identifier)
        except FormatError:
            closed = sum(version.closed == "encrypted" for version in every)
            if closed:
                raise NoIdentityError(
                    f"no archive with this name can be read, and {closed} are encrypted to others",
                    where=home.path,
                    found=identifier[:200],
                    hint=NO_IDENTITY_HINT,
                ) from None
            raise
        version = archives.find(home, cid, keyring=keyring)
        if version is not None:
            return version
        if not self._settings.kubo:
            raise ConfigurationError("no archive in the home has this CID", where=self.home, found=cid.text)
        return archives.Version(subsystem=DEFAULT, archive="", root=cid, meta={}, size=None, stores=self._settings.kubo)

    def _version(
        self, dataset: str, version: str, parent: str | None, steps: list[Any], metadata: dict[str, Any]
    ) -> Archive:
        keyring = self._keyring()
        from ipfs_log_handlers.reader import archives

        every = archives.versions(self._process.home, keyring=keyring)
        history = [item for item in every if dataset in (item.name, item.root.text)]
        newest = archives.as_of(history, None)
        before = archives.as_of(history, parent) if parent is not None else None
        archiver = self._archiver(_subsystem_of(metadata.get("type")))
        from ipfs_log_handlers.spool.archiver import ArchiveMetadata, plain_json

        statement = {"dataset_id": dataset, "version": version, "parent_version": parent, "transformations": steps}
        about = ArchiveMetadata(
            name=dataset,
            version=version,
            parent=before.root.text if before is not None else None,
            transformations=tuple(steps),
            metadata={**statement, **metadata},
        )
        if newest is None:
            return archiver.put_bytes(json.dumps(plain_json(statement), sort_keys=True).encode(), about)
        if newest.closed == "erased":
            raise ErasedError("the key of this archive was destroyed: it has no further versions", found=dataset[:200])
        archiver = self._archiver(subsystems.get(newest.subsystem))
        ciphertext = newest.ciphertext
        for path in newest.files if ciphertext is not None or archiver.encrypt is None else ():
            kind = None if newest.closed else newest.kind
            content = newest.content.text if ciphertext is not None and newest.content is not None else None
            again = replace(about, content=content)
            with suppress(FileNotFoundError):  # the keeper has just sealed it; its file has another name now
                return archiver.put_again(path, newest.root, kind, newest.size, again, ciphertext)
        with tempfile.TemporaryDirectory(prefix="ipfs-logs-") as where:
            path, _ = self._load(newest.root.text, where, None)
            return archiver.put(path, about)


class Disabled(DatasetsManager):
    """The manager for `enable=False`: each call answers that it is switched off."""

    def is_available(self) -> bool:
        """Return false: nothing is stored."""
        return False

    def _answer(self, work: Callable[[], Answer], event: Answer | None) -> Answer:
        return {
            "success": False,
            "error": "switched off: get_ipfs_datasets_manager was called with enable=False",
        }


def _import_reader() -> None:
    """Import the reader without a fork in between: a child would wait for ever for a half imported module."""
    with fork.importing():
        import ipfs_log_handlers.reader.archive_content
        import ipfs_log_handlers.reader.identities  # noqa: F401


def _mapping(metadata: object) -> dict[str, Any]:
    """Return the given metadata as a new mapping; an empty one for `None`."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata takes a mapping, found {repr(metadata)[:200]}")
    return dict(metadata)


def _about(metadata: dict[str, Any], name: str | None, component: str | None) -> ArchiveMetadata:
    """Return the description of an archive from its metadata."""
    from ipfs_log_handlers.spool.archiver import ArchiveMetadata

    steps = metadata.get("transformations")
    return ArchiveMetadata(
        name=_text(metadata, "name") or _text(metadata, "type") or name,
        version=_text(metadata, "version"),
        parent=_text(metadata, "parent"),
        transformations=tuple(steps) if isinstance(steps, (list, tuple)) else (),
        component=component or _text(metadata, "component"),
        metadata=metadata,
    )


def _text(metadata: dict[str, Any], key: str) -> str | None:
    value = metadata.get(key)
    return value if isinstance(value, str) and value else None


def _subsystem_of(kind: object) -> Subsystem:
    """Return the subsystem with this name or `type`, else `logs`."""
    known = subsystems.load()
    by_name = {subsystem.name: subsystem for subsystem in known} | {subsystem.type: subsystem for subsystem in known}
    return by_name.get(_MORE_TYPES.get(str(kind), str(kind)), subsystems.get(DEFAULT))


@contextmanager
def _target(target: str | os.PathLike[str] | None, version: Version) -> Iterator[Path]:
    """Yield the path to write an archive to: the target, a file in it, or a file in a new temporary directory."""
    name = Path(version.name or "").name or "data"
    if target is not None:
        path = Path(target)
        yield path / name if path.is_dir() else path
        return
    directory = Path(tempfile.mkdtemp(prefix="ipfs-logs-"))
    try:
        yield directory / name
    except BaseException:
        with suppress(OSError):
            directory.rmdir()
        raise


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()
