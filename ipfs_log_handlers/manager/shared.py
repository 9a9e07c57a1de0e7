"""Keep the one datasets manager that the whole process shares, and register it for `ipfs_kit_py`."""

from __future__ import annotations

import sys
import types
from typing import Any, Final, NoReturn

from ipfs_log_handlers.concurrency import fork
from ipfs_log_handlers.concurrency.threads import RLock
from ipfs_log_handlers.config import check_names, setting_names
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.manager.datasets import DatasetsManager, Disabled

__all__ = ["configure", "get_ipfs_datasets_manager", "install"]

_MODULE_NAME: Final = "ipfs_kit_py.ipfs_datasets_integration"
"""The module under whose name `install` registers this one."""

_guard = RLock()
_configured: dict[str, Any] = {}
_shared: DatasetsManager | None = None
_disabled: DatasetsManager | None = None


def configure(**settings: Any) -> DatasetsManager:
    """Configure the shared manager: `home, kubo, token, …`, as for `IPFSHandler`.

    The former shared manager is closed; code that still uses it continues to store into its home.

    Raises:
        ConfigurationError: a name or value is wrong; then nothing is changed.
    """
    global _configured, _shared
    check_names("manager.configure", settings, setting_names())
    fork.notice()
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
    """Return the manager that the whole process shares, as `ipfs_kit_py.ipfs_datasets_integration` does.

    Args:
        ipfs_client: ignored.
        enable: false returns a manager that stores nothing; each of its answers says so.
        unknown: any other keyword is an error.

    Raises:
        ConfigurationError: a variable of the environment is wrong, or a keyword is unknown.
    """
    global _shared, _disabled  # noqa: PLW0603 - one manager for the process, as the callers expect
    for name in unknown:
        raise _no_such_keyword(name)
    fork.notice()
    with _guard:
        if not enable:
            _disabled = _disabled or Disabled(**_configured)
            return _disabled
        if _shared is None:
            _shared = DatasetsManager(**_configured)
        return _shared


def _no_such_keyword(name: str) -> ConfigurationError:
    """Return the error for an unknown keyword of `get_ipfs_datasets_manager`; it names the function that takes it."""
    import difflib

    own, settings = ("ipfs_client", "enable"), setting_names()
    near = difflib.get_close_matches(name, [*own, *settings], n=1, cutoff=0.5)
    hint = f"expected one of {', '.join(own)}"
    if near:
        hint = f"did you mean {f'manager.configure({near[0]}=…)' if near[0] in settings else repr(near[0])}?"
    return ConfigurationError(f"no such keyword {name!r}; {hint}", where="get_ipfs_datasets_manager")


def install() -> types.ModuleType:
    """Register this manager under the module name with which `ipfs_kit_py` imports its manager.

    Call this function before the first import of `ipfs_kit_py`. It imports no module.

    Returns:
        The module that is registered as `ipfs_kit_py.ipfs_datasets_integration`.

    Raises:
        ConfigurationError: the real module was imported already, and other modules use its content.
    """
    fork.notice()
    with _guard:
        existing = sys.modules.get(_MODULE_NAME)
        if existing is not None:
            if getattr(existing, "get_ipfs_datasets_manager", None) is get_ipfs_datasets_manager:
                return existing
            raise ConfigurationError(
                "the module was imported already",
                where=_MODULE_NAME,
                hint="Call ipfs_log_handlers.manager.install() before the first import of ipfs_kit_py.",
            )
        module = types.ModuleType(_MODULE_NAME, "The datasets manager of ipfs_log_handlers.")
        module.__dict__.update(
            IPFS_DATASETS_AVAILABLE=True,
            IPFSDatasetsManager=DatasetsManager,
            get_ipfs_datasets_manager=get_ipfs_datasets_manager,
        )
        sys.modules[_MODULE_NAME] = module
        return module


def _after_fork_in_child() -> None:
    global _guard  # noqa: PLW0603 - the thread that may hold the lock does not exist in the child
    _guard = RLock()


fork.register("manager", fork.Step(in_child=_after_fork_in_child))
