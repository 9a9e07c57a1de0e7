"""Check the keys to which the batches of a subsystem are encrypted, and say why its records cannot be sealed."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterator
from typing import Final

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.format.kid import bounds, period_of
from ipfs_log_handlers.home import data_keys
from ipfs_log_handlers.home.data_keys import DataKey, KnownKey, keys_in, usable_key
from ipfs_log_handlers.home.layout import HomeDir, SubsystemDir
from ipfs_log_handlers.home.logs import policy_of
from ipfs_log_handlers.monitoring.health_check import HealthCheck, counted

__all__ = ["check_keys", "key_warnings"]

_ISSUE: Final = "Let the holder of the keys run `ipfs-logs keys issue`, and `ipfs-logs keys accept` here."
_INSTALL: Final = "Run: pip install 'ipfs_log_handlers[encrypt]'"
_SOON: Final = 7 * 86_400_000_000
"""µs before the end of a period in which the key of the next one should be here, if keys are issued."""


def key_warnings(home: HomeDir, subsystem_dir: SubsystemDir) -> list[str]:
    """Return what is wrong with the keys of a subsystem, for its status.

    Raises:
        OSError: the key directory cannot be read.
    """
    return [check.found for check in check_keys(home, subsystem_dir) if check.state == "warn" and _is_of_home(check)]


def _is_of_home(check: HealthCheck) -> bool:
    return check.hint != _INSTALL  # the keeper may be a process that has the library


def check_keys(home: HomeDir, subsystem_dir: SubsystemDir) -> Iterator[HealthCheck]:
    """Name the key of the present period and who can read; say what is damaged, not ended, missing or not installed.

    Raises:
        OSError: the key directory cannot be read.
    """
    name, encrypt = subsystem_dir.name, policy_of(subsystem_dir).encrypt
    keys = keys_in(home, name)
    check = f"{name} keys"
    if encrypt is not None and encrypt.scope is not None:
        yield from _values(check, encrypt, keys)
    if encrypt is not None:
        now = int(time.time() * 1_000_000)
        yield _present(home, name, check, encrypt, now)
        if importlib.util.find_spec("pyrage") is None:
            found = "pyrage is not installed for this program: a keeper without it leaves the records in the spool"
            yield HealthCheck(check=check, state="warn", found=found, hint=_INSTALL)
    for key in keys:
        if key.damage is not None:
            hint = "Restore the file from a copy: without it nobody can read what was sealed with this key."
            yield HealthCheck(check=check, state="warn", found=f"{key.kid} is not used: {key.damage}", hint=hint)
        if key.state == "shredding":
            hint = f"Run `ipfs-logs keys shred --subsystem {name} --period {key.period} --reason …` again."
            found = f"the destruction of {key.kid} has begun and did not end"
            yield HealthCheck(check=check, state="warn", found=found, hint=hint)


def _values(check: str, encrypt: Encrypt, keys: list[KnownKey]) -> Iterator[HealthCheck]:
    """Say how many values of the field have keys of the present period, and warn where further ones have none."""
    period = period_of(int(time.time() * 1_000_000), encrypt.period)
    count = len({key.scope for key in keys if key.scope is not None and key.period == period})
    found = f"{counted(count, 'value')} of {encrypt.scope} with a key of {period}"
    if count < data_keys.MAX_SCOPES:
        yield HealthCheck(check=check, state="ok", found=found)
        return
    yield HealthCheck(
        check=check,
        state="warn",
        found=f"{found}: further values share the key of the records without this field, and cannot be erased alone",
        hint="Name a field with fewer values in `scope`, or choose a shorter `period`.",
    )


def _present(home: HomeDir, name: str, check: str, encrypt: Encrypt, now: int) -> HealthCheck:
    """Describe the key of the present period, and where keys are issued that of the next one."""
    period = period_of(now, encrypt.period)
    key = usable_key(home, name, period, encrypt.recipients)
    if not encrypt.recipients and key is None:
        found = f"no key was issued for {name} in {period}, so its records wait and are not sealed"
        return HealthCheck(check=check, state="warn", found=found, hint=_ISSUE)
    end = bounds(period)[1]
    after = period_of(end, encrypt.period)
    if not encrypt.recipients and end - now < _SOON and usable_key(home, name, after, ()) is None:
        found = f"no key was issued yet for {name} in {after}, which begins soon"
        return HealthCheck(check=check, state="warn", found=found, hint=_ISSUE)
    readers = counted(len(encrypt.recipients), "recipient") if encrypt.recipients else "the holder of the issued keys"
    return HealthCheck(
        check=check, state="ok", found=f"{_named(key, period)}, for {readers}; {_counts(keys_in(home, name))}"
    )


def _named(key: DataKey | None, period: str) -> str:
    return (
        f"encrypted to {key.kid}" if key is not None else f"encrypted; the key of {period} is made with the next batch"
    )


def _counts(keys: list[KnownKey]) -> str:
    destroyed = sum(key.state == "shredded" for key in keys)
    return counted(len(keys), "key") + (f", {destroyed} destroyed" if destroyed else "")
