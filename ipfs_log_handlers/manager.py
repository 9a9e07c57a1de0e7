"""The datasets manager: `store` a file, a directory or bytes, and its final CID is in the chain, exactly once.

It answers every call that the classes of `ipfs_kit_py` make to theirs; `install()` puts it where they look for it.
`store` returns when the bytes are durable in the home; the keeper seals and ships them afterwards, however long the
daemon is down. It never raises: what it cannot store it says with `{"success": False, "error": …}`, and nothing of it
is left behind.

Home, stores and token come from `configure(…)`, else from `IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO` and `IPFS_LOGS_TOKEN`.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings, check_names, setting_names
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.native import RLock
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import DEFAULT, Subsystem

if TYPE_CHECKING:
    from ipfs_log_handlers.archiver import Archiver, Facts
    from ipfs_log_handlers.home.archives import Archive
    from ipfs_log_handlers.reading.archives import Version

__all__ = ["DatasetsManager", "configure", "get_ipfs_datasets_manager", "install"]

_PLACE: Final = "ipfs_kit_py.ipfs_datasets_integration"
_ALSO: Final = {"wal_archive": "wal"}
"""Types of metadata beside those that the subsystems have themselves."""
_REMEMBERED: Final = 10_000
_TRIES: Final = 5

Answer = dict[str, Any]


class DatasetsManager:
    """Stores files, directories and bytes as batches of a home.

    Args:
        settings: as for `IPFSHandler`: `home, kubo, token, replicas, flush_timeout, keeper, …`.

    Raises:
        ConfigurationError: a name or value is wrong.

    Constructing opens no file, touches no network and starts no thread. Any thread may call it, also under locks of
    its own, and in a fork.
    """

    def __init__(self, **settings: Any) -> None:
        self._settings = Settings.parse(settings, owner="DatasetsManager")
        self._occupant = HomeProcess.enter(None, self._settings, records=False)
        self._process = self._occupant.home
        self._events: deque[Answer] = deque(maxlen=_REMEMBERED)
        self._provenance: deque[Answer] = deque(maxlen=_REMEMBERED)

    @property
    def home(self) -> Path:
        """The home."""
        return self._settings.home

    def is_available(self) -> bool:
        """True: what is stored is durable whether a daemon runs or not."""
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
        """Archive a file, a directory or bytes. On return they are durable: the path may be deleted.

        Args:
            path: the file or directory.
            metadata: anything that JSON can hold, at most 8 KiB. `type` chooses the subsystem, `name` and `version`
                say what it is a version of (without a name the type, else the last part of the path), `parent` and
                `transformations` what it was made from; all of it stands in the manifest.
            data: the bytes, in place of a path.
            subsystem: whose log it goes into; `None`: as the `type` says, else `logs`.
            component: which part of a program it is of.

        Returns:
            `{"success": True, "cid", "local_path", "metadata", "distributed": True}`, or
            `{"success": False, "error"}` when it cannot be read or the home not be written. Never raises.
        """
        shown = None if path is None else str(path)

        def work() -> Answer:
            archive = self._store(path, data, _mapping(metadata), subsystem, component)
            said = archive.meta["metadata"]
            return {"success": True, "cid": archive.root.text, "local_path": shown, "metadata": said}

        return self._told(work, {"operation": "store", "path": shown})

    def load(self, identifier: str, target_path: str | os.PathLike[str] | None = None) -> Answer:
        """Give an archive back, from the home or from the stores that have it, every block verified.

        Args:
            identifier: the CID that `store` gave, that of the manifest, or a name: its newest version.
            target_path: where to write it; into it, if it is a directory. `None`: into a new temporary directory,
                which the caller removes.

        Returns:
            `{"success": True, "path", "metadata", "distributed": True}`, or `{"success": False, "error"}`. Never
            raises.
        """

        def work() -> Answer:
            path, metadata = self._load(str(identifier), target_path)
            return {"success": True, "path": os.fspath(path), "metadata": metadata}

        return self._told(work, {"operation": "load", "identifier": str(identifier)})

    def version(
        self,
        dataset_id: str,
        version: str,
        parent_version: str | None = None,
        transformations: Sequence[Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> Answer:
        """Say that a dataset has another version; `ipfs-logs log` shows them.

        Args:
            dataset_id: a CID or name of something stored: the new version has the same bytes, and none is copied. Of
                anything else the version is this statement itself, as a JSON file.
            version: what the version is called.
            parent_version: the version of the same dataset that it was made from.
            transformations: what was done to that.
            metadata: anything else.

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

        return self._told(work, None)

    def get_event_log(self) -> list[Answer]:
        """What was stored and loaded through this manager, oldest first, the last 10,000."""
        return [dict(each) for each in list(self._events)]

    def get_provenance_log(self) -> list[Answer]:
        """The versions that were made through this manager, oldest first, the last 10,000."""
        return [dict(each) for each in list(self._provenance)]

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that this process put into the home is shipped (without `kubo`: sealed), or time is over.

        Args:
            timeout: seconds; `None`: the configured `flush_timeout`.

        Returns:
            Whether it is. Never raises.
        """
        try:
            return self._process.flush(self._settings.flush_timeout if timeout is None else timeout)
        except Exception:  # noqa: BLE001 - what is left stays in the home, and the next start takes it
            return False

    def close(self) -> None:
        """As `flush`, once. What is stored later still lands, and waits for the next start."""
        with suppress(Exception):
            self._process.leave(self._occupant)

    # -- inside

    def _told(self, work: Callable[[], Answer], event: Answer | None) -> Answer:
        """Do some work; its answer, whatever happens, and a line in the event log."""
        try:
            answer = work() | {"distributed": True}
        except Exception as error:  # noqa: BLE001 - the contract: callers hold locks and expect an answer
            answer = {"success": False, "error": str(error) or type(error).__name__}
        if event is not None:
            told = {"timestamp": _now(), "success": answer["success"], "cid": answer.get("cid")}
            self._events.append({**event, **told})
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
            raise ConfigurationError("store takes a path or data=, one of them", found="both" if data else "neither")
        archiver = self._archiver(subsystems.get(subsystem) if subsystem else _subsystem_of(metadata.get("type")))
        facts = _facts(metadata, None if path is None else Path(path).name, component)
        if path is not None:
            return archiver.put(Path(path), facts)
        return archiver.put_bytes(
            data.encode() if isinstance(data, str) else memoryview(b"" if data is None else data).tobytes(), facts
        )

    def _load(self, identifier: str, target: str | os.PathLike[str] | None) -> tuple[Path, dict[str, Any]]:
        _load_reading()
        from ipfs_log_handlers.reading import archives

        for turn in range(_TRIES):
            version = self._find(identifier)
            try:
                with archives.opened(version, self._settings.token) as get, _target(target, version) as path:
                    archives.restore(version, get, path)
                    return path, version.metadata
            except FileNotFoundError:  # the keeper has taken it into the chain, or retention to the store
                if turn == _TRIES - 1:
                    raise
        raise AssertionError

    def _find(self, identifier: str) -> Version:
        _load_reading()
        from ipfs_log_handlers.format.cid import Cid
        from ipfs_log_handlers.reading import archives

        home = self._process.home
        named = archives.as_of([each for each in archives.versions(home) if each.name == identifier], None)
        if named is not None:
            return named
        cid = Cid.from_user(identifier)
        found = archives.find(home, cid)
        if found is not None:
            return found
        if not self._settings.kubo:
            raise ConfigurationError("nothing in the home has this CID", where=self.home, found=cid.text)
        return archives.Version(subsystem=DEFAULT, archive="", root=cid, meta={}, size=None, stores=self._settings.kubo)

    def _version(
        self, dataset: str, version: str, parent: str | None, steps: list[Any], metadata: dict[str, Any]
    ) -> Archive:
        _load_reading()
        from ipfs_log_handlers.reading import archives

        history = [each for each in archives.versions(self._process.home) if dataset in (each.name, each.root.text)]
        newest = archives.as_of(history, None)
        before = archives.as_of(history, parent) if parent is not None else None
        archiver = self._archiver(_subsystem_of(metadata.get("type")))
        from ipfs_log_handlers.archiver import Facts, plain_json

        statement = {"dataset_id": dataset, "version": version, "parent_version": parent, "transformations": steps}
        facts = Facts(
            name=dataset,
            version=version,
            parent=before.root.text if before is not None else None,
            transformations=tuple(steps),
            metadata={**statement, **metadata},
        )
        if newest is None:
            return archiver.put_bytes(json.dumps(plain_json(statement), sort_keys=True).encode(), facts)
        archiver = self._archiver(subsystems.get(newest.subsystem))
        for path in newest.files:
            with suppress(FileNotFoundError):  # the keeper has just taken it into the chain, where it has another name
                return archiver.put_again(path, newest.root, newest.kind, newest.size or 0, facts)
        with tempfile.TemporaryDirectory(prefix="ipfs-logs-") as where:
            path, _ = self._load(newest.root.text, where)
            return archiver.put(path, facts)


class _Disabled(DatasetsManager):
    """What a caller gets that asked for none: it answers that it is switched off."""

    def is_available(self) -> bool:
        return False

    def _told(self, work: Callable[[], Answer], event: Answer | None) -> Answer:
        return {"success": False, "error": "the manager was asked for with enable=False"}


def _load_reading() -> None:
    """Import the reading side, with no fork in between: a child would wait for ever for a module half imported."""
    with HomeProcess.importing():
        import ipfs_log_handlers.reading.archives  # noqa: F401


def _mapping(metadata: object) -> dict[str, Any]:
    """Metadata as it was given; none is an empty mapping."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ConfigurationError(f"metadata takes a mapping, found {repr(metadata)[:200]}")
    return dict(metadata)


def _facts(metadata: dict[str, Any], name: str | None, component: str | None) -> Facts:
    """What metadata says of an archive."""
    from ipfs_log_handlers.archiver import Facts

    steps = metadata.get("transformations")
    return Facts(
        name=_text(metadata, "name") or _text(metadata, "type") or name,
        version=_text(metadata, "version"),
        parent=_text(metadata, "parent"),
        transformations=tuple(steps) if isinstance(steps, (list, tuple)) else (),
        component=component or _text(metadata, "component"),
        metadata=metadata,
    )


def _text(metadata: dict[str, Any], key: str) -> str | None:
    found = metadata.get(key)
    return found if isinstance(found, str) and found else None


def _subsystem_of(kind: object) -> Subsystem:
    """The subsystem whose batches have this type, else `logs`."""
    every = [subsystems.get(name) for name in subsystems.names()]
    found = {each.name: each for each in every} | {each.type: each for each in every}
    return found.get(_ALSO.get(str(kind), str(kind)), subsystems.get(DEFAULT))


@contextmanager
def _target(target: str | os.PathLike[str] | None, version: Version) -> Iterator[Path]:
    """Where an archive is written: the path given, in it if it is a directory; or a new one, removed on a failure."""
    name = Path(version.name or "").name or "data"
    if target is not None:
        path = Path(target)
        yield path / name if path.is_dir() else path
        return
    fresh = Path(tempfile.mkdtemp(prefix="ipfs-logs-"))
    try:
        yield fresh / name
    except BaseException:
        with suppress(OSError):
            fresh.rmdir()
        raise


def _now() -> str:
    return datetime.now(timezone.utc).isoformat()


# -- where others look for it

_guard = RLock()
_configured: dict[str, Any] = {}
_shared: DatasetsManager | None = None
_disabled: DatasetsManager | None = None


def configure(**settings: Any) -> DatasetsManager:
    """Say where the shared manager stores and ships: `home, kubo, token, …`, as for `IPFSHandler`.

    A manager with other settings that is there already is closed; whoever has it goes on storing into its home.

    Raises:
        ConfigurationError: a name or value is wrong; then nothing has changed.
    """
    global _configured, _shared
    check_names("manager.configure", settings, setting_names())
    with _guard:
        fresh = DatasetsManager(**settings)
        former, _shared, _configured = _shared, fresh, dict(settings)
    if former is not None:
        former.close()
    return fresh


def get_ipfs_datasets_manager(
    ipfs_client: object = None,  # noqa: ARG001 - the contract
    enable: bool = True,  # noqa: FBT001, FBT002 - the contract
    **unknown: NoReturn,
) -> DatasetsManager:
    """The manager that all of this process share, as `ipfs_kit_py.ipfs_datasets_integration` gives it.

    Args:
        ipfs_client: not needed, and left alone.
        enable: false gives one that stores nothing and says so.
        unknown: nothing else; what was meant is told.

    Raises:
        ConfigurationError: a variable of the environment is wrong, or there is no such keyword.
    """
    global _shared, _disabled  # noqa: PLW0603 - one for the process, as the callers expect it
    for name in unknown:
        raise _no_such_keyword(name)
    with _guard:
        if not enable:
            _disabled = _disabled or _Disabled(**_configured)
            return _disabled
        if _shared is None:
            _shared = DatasetsManager(**_configured)
        return _shared


def _no_such_keyword(name: str) -> ConfigurationError:
    """What `get_ipfs_datasets_manager` says to a keyword; to a setting, who takes it."""
    import difflib

    own, settings = ("ipfs_client", "enable"), setting_names()
    near = difflib.get_close_matches(name, [*own, *settings], n=1, cutoff=0.5)
    told = f"expected one of {', '.join(own)}"
    if near:
        told = f"did you mean {f'manager.configure({near[0]}=…)' if near[0] in settings else repr(near[0])}?"
    return ConfigurationError(f"no such keyword {name!r}; {told}", where="get_ipfs_datasets_manager")


def install() -> types.ModuleType:
    """Put this manager where `ipfs_kit_py` looks for its own: call it before anything of `ipfs_kit_py` is imported.

    Returns:
        The module `ipfs_kit_py.ipfs_datasets_integration`, as it will be found. Nothing is imported.

    Raises:
        ConfigurationError: that module was imported already, and its users have what is in it.
    """
    with _guard:
        there = sys.modules.get(_PLACE)
        if there is not None:
            if getattr(there, "get_ipfs_datasets_manager", None) is get_ipfs_datasets_manager:
                return there
            raise ConfigurationError(
                "the module was imported already",
                where=_PLACE,
                hint="Call ipfs_log_handlers.manager.install() before the first import of ipfs_kit_py.",
            )
        module = types.ModuleType(_PLACE, "The datasets manager of ipfs_log_handlers.")
        module.__dict__.update(
            IPFS_DATASETS_AVAILABLE=True,
            IPFSDatasetsManager=DatasetsManager,
            get_ipfs_datasets_manager=get_ipfs_datasets_manager,
        )
        sys.modules[_PLACE] = module
        return module


def _after_fork_in_child() -> None:
    global _guard  # noqa: PLW0603 - the thread that may have held it is not here
    _guard = RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
