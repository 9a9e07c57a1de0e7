"""Rotator: what `RotatingFileHandler` and `TimedRotatingFileHandler` rotate away is archived, then renamed as usual.

    handler = logging.handlers.RotatingFileHandler("app.log", maxBytes=10_000_000, backupCount=3)
    handler.rotator = ipfs_log_handlers.rotator.Rotator(component="shop")

In a dictConfig, also one that is JSON or YAML, `archiving` makes the handler:

    {"()": "ipfs_log_handlers.rotator.archiving", "class": "logging.handlers.RotatingFileHandler",
     "filename": "app.log", "maxBytes": 10_000_000, "backupCount": 3, "archive": {"component": "shop"}}

A file that cannot be archived (the disk is full) is rotated all the same: logging goes on, the failure is counted, and
the file stays for as long as `backupCount` says. The call that rotates waits until the file is read and synced.
"""

from __future__ import annotations

import logging.handlers
import os
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.config import Settings, check_names
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.process import HomeProcess
from ipfs_log_handlers.subsystems.registry import DEFAULT

__all__ = ["Rotator", "archiving"]


class Rotator:
    """A `rotator` for the rotating handlers of `logging.handlers`; one may serve several of them.

    Args:
        subsystem: whose log the archives go into.
        component: which part of a program the files are of.
        name: what each file is a version of; `None`: its own name.
        metadata: anything else that the manifests shall say.
        then: called with the two paths afterwards; by default the rename that logging does itself.
        settings: `home, kubo, token, …`, as for `IPFSHandler`.

    Raises:
        ConfigurationError: a name or value is wrong.

    Constructing opens no file, touches no network and starts no thread.
    """

    def __init__(
        self,
        subsystem: str = DEFAULT,
        *,
        component: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        then: Callable[[str, str], object] = os.rename,
        **settings: Any,
    ) -> None:
        self._subsystem = subsystems.get(subsystem)
        own = ("subsystem", "component", "name", "metadata", "then")
        self._settings = Settings.parse(settings, owner="Rotator", also=own)
        said = _mapping("metadata", metadata)
        self._occupant = HomeProcess.enter(None, self._settings, records=False)
        self._component = component
        self._name = name
        self._metadata = said
        self._then = then
        self.archived = 0
        """Files that were archived."""
        self.failed = 0
        """Files that could not be."""
        self.last_error: str | None = None
        """Why the last one could not."""

    def __call__(self, source: str, dest: str) -> None:
        """Archive `source`, then rename it to `dest`. Raises only what the rename raises."""
        if not os.path.exists(source):
            return
        try:
            self._archive(Path(source))
            self.archived += 1
        except Exception as error:  # noqa: BLE001 - a guest: counted, and the file is not lost
            self.failed += 1
            self.last_error = str(error) or type(error).__name__
        self._then(source, dest)

    def _archive(self, path: Path) -> None:
        archiver = self._occupant.home.archiver(self._subsystem, self._settings)
        from ipfs_log_handlers.archiver import Facts

        archiver.put(
            path,
            Facts(
                name=self._name or path.name,
                version=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
                component=self._component,
                metadata=self._metadata,
            ),
        )

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that this process put into the home is shipped (without `kubo`: sealed), or time is over.

        The end of a program does so by itself.
        """
        return self._occupant.home.flush(self._settings.flush_timeout if timeout is None else timeout)


def archiving(archive: Mapping[str, Any] | None = None, **options: Any) -> logging.handlers.BaseRotatingHandler:
    """Make a rotating handler whose files are archived: a factory for dictConfig's `()`.

    Args:
        archive: keywords of `Rotator`.
        options: `class`, a rotating handler's dotted name (default `logging.handlers.RotatingFileHandler`), and what
            that one takes.

    Raises:
        ConfigurationError: the class is no rotating handler, or a keyword of it or of `archive` is wrong.
    """
    made = _class_of(options.pop("class", "logging.handlers.RotatingFileHandler"))
    _check_options(made, options)
    rotator = Rotator(**_mapping("archive", archive))
    handler = made(**options)
    handler.rotator = rotator
    return handler


def _mapping(name: str, value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            "not a mapping", where=name, expected="one such as {'component': 'shop'}", found=repr(value)[:200]
        )
    return dict(value)


def _check_options(made: Callable[..., object], options: Mapping[str, Any]) -> None:
    """Refuse what the handler's class does not take, unless it takes any keyword."""
    import inspect

    taken = inspect.signature(made).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):
        check_names("archiving", options, taken, also=("archive", "class"))


def _class_of(name: object) -> Callable[..., logging.handlers.BaseRotatingHandler]:
    found: Any = name
    if isinstance(name, str):
        import importlib

        module, _, last = name.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), last)
        except (ImportError, AttributeError, ValueError) as error:
            raise ConfigurationError("no such handler", where="class", found=name) from error
    if not (isinstance(found, type) and issubclass(found, logging.handlers.BaseRotatingHandler)):
        raise ConfigurationError(
            "not a handler that rotates",
            where="class",
            expected="logging.handlers.RotatingFileHandler or TimedRotatingFileHandler",
            found=repr(name),
        )
    return found
