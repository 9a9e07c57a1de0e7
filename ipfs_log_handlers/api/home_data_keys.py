"""List, accept and destroy the keys to which the batches of a home are encrypted; issue such keys ahead."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.api.home_reader import HomeReader
from ipfs_log_handlers.errors import ConfigurationError, FormatError

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.home.data_keys import DataKey, KnownKey
    from ipfs_log_handlers.maintenance.shredding import ShreddedKeys

__all__ = ["HomeDataKeys", "Pseudonym", "issue_keys", "issued_keys_in", "shred_issued_keys"]

_MAX_FILE_BYTES: Final = 16 << 20
"""Largest number of bytes of a file with issued keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonym:
    """The pseudonym of a value in one subsystem and month."""

    subsystem: str
    """Name of the subsystem."""
    period: str
    """The month, in UTC: `2026-03`."""
    pseudonym: str
    """The pseudonym, as it stands in the records."""

    def as_json(self) -> dict[str, str]:
        """Return a dict with its fields."""
        return {"subsystem": self.subsystem, "period": self.period, "pseudonym": self.pseudonym}


class HomeDataKeys(HomeReader):
    """The methods of `Home` about the keys that encrypt its batches."""

    __slots__ = ()

    def data_keys(self, subsystems: Sequence[str] | None = None, *, scope: str | None = None) -> tuple[KnownKey, ...]:
        """List the keys of periods that this home knows, by subsystem and period, also those that were destroyed.

        Args:
            subsystems: names; `None`: all, also those to which nothing was logged yet.
            scope: only the keys of this value of the field that the setting `scope` names.

        Raises:
            HomeError: the secret of the names of such keys is damaged, or other users can read it.
        """
        from ipfs_log_handlers.home import scope_keys
        from ipfs_log_handlers.home.data_keys import keys_in

        wanted = None if subsystems is None else set(subsystems)
        keys = [key for key in keys_in(self._dir) if wanted is None or key.subsystem in wanted]
        if scope is None:
            return tuple(keys)
        secrets = {at: scope_keys.load(self._dir, *at) for at in {(key.subsystem, key.period) for key in keys}}
        ids = {at: scope_keys.scope_of(secret, scope) for at, secret in secrets.items() if secret is not None}
        return tuple(key for key in keys if key.scope is not None and key.scope == ids.get((key.subsystem, key.period)))

    def accept_keys(self, issued: Sequence[DataKey]) -> tuple[DataKey, ...]:
        """Encrypt to keys that another machine has issued (`issue_keys`), so that this one never has a secret.

        The home is made if needed. Set `encrypt={"recipients": "issued"}` in the programs that log to it.

        Args:
            issued: the keys, for example of `issued_keys_in`.

        Returns:
            Those that are new here.

        Raises:
            HomeError: another key has one of the ids here, or it was destroyed; the keys before it are accepted.
            OSError: the disk refuses.
        """
        from ipfs_log_handlers.home.data_keys import accept

        return tuple(accept(self._dir, issued, _now()))

    def pseudonyms(
        self, value: str, subsystems: Sequence[str] | None = None, *, period: str | None = None
    ) -> tuple[Pseudonym, ...]:
        """Compute the pseudonyms of a value, to search the log for it: one for each subsystem and month with a key.

        Args:
            value: the value as text, as the program logged it: a number in its usual form.
            subsystems: only these.
            period: only this month, such as `2026-03`.

        Returns:
            The pseudonyms, by subsystem and month; none of months whose key was erased, or was never made.

        Raises:
            HomeError: other users can read the file of a key, or it is damaged.
            OSError: it cannot be read.
        """
        from ipfs_log_handlers.home import pseudonym_keys

        found = []
        for name in self.chosen(subsystems):
            for month in pseudonym_keys.periods(self._dir, name):
                key = pseudonym_keys.load(self._dir, name, month) if period in (None, month) else None
                if key is not None:
                    made = pseudonym_keys.pseudonym(key, month, value)
                    found.append(Pseudonym(subsystem=name, period=month, pseudonym=made))
        return tuple(found)

    def shred_keys(
        self,
        period: str | None = None,
        *,
        reason: str,
        subsystem: str | None = None,
        scope: str | None = None,
        by: str | None = None,
    ) -> tuple[ShreddedKeys, ...]:
        """Erase what was sealed in a period, or of one value in it: destroy keys. A signed act in the log says so.

        Nobody can read these batches then; their CIDs, roots and signatures still verify. A program may log to the home
        meanwhile, and gets a further key. After a crash call this again: it ends what was begun. Copies of the key
        directory elsewhere, as in backups, have to be destroyed there.

        Args:
            period: the period, as in the id of a key: `2026-03`. `None`: all periods, where `scope` is given.
            reason: why, at most 500 printable characters. It is a part of the log.
            subsystem: only its keys; `None`: those of all subsystems.
            scope: only the keys of this value of the field that the setting `scope` names; other records stay readable.
            by: who asks for it; `None`: the user and the host of this process. It is a part of the log.

        Returns:
            The keys that were destroyed, by subsystem, and act by act: one destroys 32 keys at most.

        Raises:
            ConfigurationError: there is no such key, or a text is malformed.
            HeldError: a legal hold stands over one of these batches; no key of its subsystem was destroyed.
            HomeError: the act is not in a batch yet, and the error says why.
            FormatError: a batch is damaged, so that it is not known what is held.
            OSError: the disk refuses.
        """
        from ipfs_log_handlers.maintenance.shredding import shred

        return tuple(shred(self._dir, period, reason=reason, subsystem=subsystem, scope=scope, by=by))


def issue_keys(
    directory: str | Path, subsystem: str, first: str, last: str, recipients: Sequence[str]
) -> tuple[DataKey, ...]:
    """Make the keys of periods ahead, on the machine of those who may read; a home takes them by `Home.accept_keys`.

    The secret keys are in the directory, encrypted to the recipients: keep it, and a copy. After a crash call this
    again: a key that is there stays.

    Args:
        directory: the key directory; made if it is missing. It is not in a home.
        subsystem: the subsystem whose batches they will encrypt.
        first: the first period: a year `2027`, month `2027-01`, week `2027-W01` or day `2027-01-31`.
        last: the last period, of the same length.
        recipients: public keys, `age1…` or ssh-ed25519, of those who may read.

    Returns:
        The public halves, in the order of the periods.

    Raises:
        ConfigurationError: a period or recipient is malformed, there is no recipient, or pyrage is not installed.
        OSError: the disk refuses.
    """
    from ipfs_log_handlers.config import Encrypt
    from ipfs_log_handlers.format.kid import Kid, periods_between
    from ipfs_log_handlers.home.data_keys import issue

    try:
        periods = list(periods_between(first, last))
        Kid(subsystem=subsystem, period=first)
    except FormatError as error:
        raise ConfigurationError(error.message, expected=error.expected, found=error.found) from error
    wanted = Encrypt.parse({"recipients": list(recipients)} if recipients else {}, where="keys").recipients
    return tuple(issue(Path(directory).absolute(), subsystem, periods, wanted, _now()))


def shred_issued_keys(
    directory: str | Path, period: str, *, reason: str, subsystem: str | None = None
) -> tuple[ShreddedKeys, ...]:
    """Destroy the secrets of keys in the key directory in which they were issued. The homes have acts of their own.

    After a crash call this again.

    Args:
        directory: the key directory, as for `issue_keys`.
        period: the period.
        reason: why.
        subsystem: only its keys; `None`: those of all subsystems.

    Raises:
        ConfigurationError: there is no such key.
        OSError: the disk refuses.
    """
    from ipfs_log_handlers.maintenance.shredding import shred_in_directory

    return tuple(shred_in_directory(Path(directory).absolute(), period, reason=reason, subsystem=subsystem))


def issued_keys_in(path: str | Path) -> tuple[DataKey, ...]:
    """Read a file with issued keys: lines of `ipfs-logs keys issue`, as text or JSON.

    Raises:
        FormatError: a line is not the public half of a key.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise FormatError("not a file with issued keys", where=path, expected=f"at most {_MAX_FILE_BYTES:,} bytes")
    lines = data.decode("utf-8", "replace").splitlines()
    return tuple(_parsed((row for row in enumerate(lines, 1) if row[1].strip()), path))


def _parsed(rows: Iterable[tuple[int, str]], path: str | Path) -> Iterable[DataKey]:
    from ipfs_log_handlers.format.age_recipient import normalise_recipient
    from ipfs_log_handlers.format.kid import Kid
    from ipfs_log_handlers.home.data_keys import DataKey

    for number, row in rows:
        try:
            if row.lstrip().startswith("{"):
                members = json.loads(row)
                kid_text, recipient_text = members["kid"], members["recipient"]
            else:
                kid_text, recipient_text = row.split()
            kid, recipient = Kid.parse(kid_text), normalise_recipient(recipient_text)
        except FormatError as error:
            error.where = error.where or f"{path}, line {number}"
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FormatError(
                "not the public half of a key", where=f"{path}, line {number}", expected="audit/2027-01 age1…"
            ) from error
        if not recipient.startswith("age1"):
            raise FormatError("the key of a period is age1…", where=f"{path}, line {number}")
        yield DataKey(kid.text, recipient)


def _now() -> int:
    return int(time.time() * 1_000_000)
