"""Keep batches of private subsystems away from stores where strangers could find them.

A subsystem is private if it says so, and its handler does not have `allow_public`. Before its first batch goes to a
store, and every ten minutes afterwards, the store is asked whether it announces what it has. If it does, or does not
tell, batches that are not encrypted stay in the home: the delivery state says why, so that `status`, `doctor` and the
program do, and the store is asked again each minute.
"""

from __future__ import annotations

from typing import Final

from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.errors import ConfigurationError, FormatError
from ipfs_log_handlers.format.encryption import is_encrypted
from ipfs_log_handlers.home.delivery_state import LastError
from ipfs_log_handlers.home.layout import SubsystemDir
from ipfs_log_handlers.home.logs import LogDir, policy_of
from ipfs_log_handlers.stores import Exposure, ExposureTeller, Store

__all__ = ["CHECK_AGAIN_S", "PrivacyGuard", "refusal_of"]

CHECK_AGAIN_S: Final = 60.0
"""Seconds after which a store that may not have private batches is asked again."""
_TRUSTED_S: Final = 600.0
"""Seconds after which a store that may have private batches is asked again."""
_ALLOW: Final = "Or set allow_public, if strangers may read this subsystem."


def refusal_of(subsystem: str, address: str, exposure: Exposure) -> ConfigurationError | None:
    """Return why batches of a private subsystem do not go to a store; `None` if they may."""
    if exposure.announces is False:
        return None
    return ConfigurationError(
        "the subsystem is private, so its records are not shipped there",
        where=f"{subsystem} to {address}",
        found=exposure.found,
        hint=f"{exposure.hint} {_ALLOW}" if exposure.hint else _ALLOW,
    )


class PrivacyGuard:
    """Decide for one store which subsystems may ship to it.

    Args:
        store: the store. One that cannot tell whether strangers can find something may have every batch.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._exposure: Exposure | None = None
        self._asked_at = 0.0
        self._refused: set[str] = set()
        self._clear: dict[str, set[int]] = {}
        """By log: batches that are known not to be encrypted."""

    @property
    def refuses_any(self) -> bool:
        """Whether batches of some subsystem stay in the home."""
        return bool(self._refused)

    def refuses(self, subsystem: str) -> bool:
        """Return whether the batches of a subsystem stay in the home, as it was when they were last asked for."""
        return subsystem in self._refused

    async def keeps_clear_batches(self, subsystem_dir: SubsystemDir) -> bool:
        """Return whether batches of a subsystem that are not encrypted stay in the home.

        Raises:
            StoreError: the store did not answer.
            OSError: the settings of the subsystem cannot be read.
        """
        self._refused.discard(subsystem_dir.name)
        if not isinstance(self._store, ExposureTeller) or not policy_of(subsystem_dir).private:
            return False
        return (await self._current_exposure(self._store)).announces is not False

    def refuse(self, subsystem: str) -> LastError:
        """Note that batches of a subsystem stay in the home; return the reason."""
        self._refused.add(subsystem)
        exposure = self._exposure or Exposure(announces=None, found="it was not asked")
        error = refusal_of(subsystem, self._store.address, exposure)
        return LastError("public", str(error), clock.wall(), clock.wall() + CHECK_AGAIN_S)

    async def _current_exposure(self, store: ExposureTeller) -> Exposure:
        exposure = self._exposure
        if exposure is not None:
            trusted_s = _TRUSTED_S if exposure.announces is False else CHECK_AGAIN_S
            if clock.monotonic() - self._asked_at < trusted_s:
                return exposure
        self._exposure = await store.exposure()
        self._asked_at = clock.monotonic()
        return self._exposure

    def is_encrypted(self, log_dir: LogDir, log: str, index: int) -> bool:
        """Return whether a batch is encrypted; one that cannot be read counts as if it were not."""
        clear = self._clear.setdefault(log, set())
        if index in clear:
            return False
        try:
            encrypted = is_encrypted(log_dir.sealed_batches.facts(index).manifest)
        except (FormatError, FileNotFoundError):
            return False
        if not encrypted:
            clear.add(index)
        return encrypted
