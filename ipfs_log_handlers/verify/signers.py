"""Know which keys may have signed the logs of a home: the trusted ones, and earlier keys that these vouch for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ipfs_log_handlers.errors import LogStoreError, VerificationError
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.head import Head
from ipfs_log_handlers.home import key_changes, keys
from ipfs_log_handlers.home.key_changes import KnownChanges, Trust
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.os_errors import explain
from ipfs_log_handlers.reader.next_key import hint_about

__all__ = ["Signers"]


@dataclass(frozen=True, slots=True)
class Signers:
    """The keys that may have signed the logs of a home."""

    trusted: Mapping[str, VerifierKey]
    """The keys that are trusted for every log, by name: those that a caller gave, or the home's own."""
    trouble: str = ""
    """What is there instead of the key of a log."""
    changes: KnownChanges = field(default_factory=KnownChanges)
    """The key changes of the home."""
    _trust: Trust = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_trust", self.changes.trust(list(self.trusted.values())))

    @classmethod
    def of(cls, home: HomeDir, given: Sequence[VerifierKey]) -> Signers:
        """Find the keys of a home.

        Args:
            home: the home.
            given: the keys to trust; empty: the home's own key.
        """
        changes = KnownChanges()
        with suppress(OSError):
            changes = key_changes.of_home(home)
        if given:
            return cls({key.name: key for key in given}, "none of the given keys", changes)
        try:
            own = keys.load(home)
        except (LogStoreError, OSError) as error:
            return cls({}, explain(error), changes)
        return (
            cls({}, "no key in the home", changes) if own is None else cls({own.name: own.verifier}, own.name, changes)
        )

    @property
    def known(self) -> dict[str, VerifierKey]:
        """The trusted keys, and the earlier keys that they vouch for, by name."""
        return {**{key.name: key for key in self._trust.keys}, **self.trusted}

    def covers(self, key: VerifierKey, end: Checkpoint | None) -> bool:
        """Return whether a log of a key may end like this: a trusted key signs any end, an earlier one only its own."""
        return key.name in self.trusted or self._trust.covers(end)

    def instead_of(self, name: str) -> str:
        """Say what is there instead of a key that is not known, and whether a trusted key has named it."""
        hint = self.hint(name)
        return f"{self.trouble}; but {hint}" if hint else self.trouble

    def hint(self, name: str) -> str | None:
        """Return a sentence about a key that is not known, if trusted keys have named it as the next one."""
        told = self.changes.told(list(self.trusted.values()), name)
        return None if told is None else hint_about(told.text, list(self.trusted))

    def check_head(self, head: Head) -> None:
        """Check that one of the keys has signed the newest head of a log, and that the log may end with it.

        Raises:
            VerificationError: none has, or only an earlier key has.
        """
        key = self.known.get(key_name_of(head.log))
        expected = " or ".join(self.trusted)
        if key is None:
            raise VerificationError(
                "no trusted key has signed the log",
                expected=expected,
                found=head.log,
                hint=self.hint(key_name_of(head.log)),
            )
        end = head.verify(key)
        if not self.covers(key, end):
            raise VerificationError(
                "only an earlier key has signed this end of the log", expected=expected, found=head.log
            )
