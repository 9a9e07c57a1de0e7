"""Show, change and move the signing key of a home, and end its logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ipfs_log_handlers.api.home_reader import HomeReader
from ipfs_log_handlers.errors import HomeError
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.keys import PublicKey
from ipfs_log_handlers.home.logs import logs_of, signers

if TYPE_CHECKING:  # imported by the methods that need it
    from ipfs_log_handlers.home.key_changes import EarlierKey
    from ipfs_log_handlers.keeper.key_rotation import RotatedKey
    from ipfs_log_handlers.keeper.moved import SameLog
    from ipfs_log_handlers.keeper.new_log import EndedLog

__all__ = ["HomeKeys"]


class HomeKeys(HomeReader):
    """The methods of `Home` about its key."""

    __slots__ = ()

    def public_key(self) -> PublicKey | None:
        """Return the public half of the signing key, and the IPNS name; `None` before the first batch.

        Raises:
            HomeError: the key is damaged, or the key is missing although the home has logs.
        """
        # Read the logs before the key: the key of a log is made before the log.
        logs = [log for subsystem_dir in self._dir.subsystem_dirs() for log in logs_of(subsystem_dir)]
        key = keys.load(self._dir)
        if key is not None:
            from ipfs_log_handlers.home import name_key

            named = name_key.load(self._dir)
            return PublicKey.of(key, None if named is None else named.name)
        if logs:
            signed_by = " and ".join(signers(logs)) or "a key whose name is lost too"
            raise HomeError(
                f"writer.key is missing; the logs here are signed with {signed_by}",
                hint="`ipfs-logs doctor` says what to do.",
            )
        return None

    def earlier_keys(self) -> tuple[EarlierKey, ...]:
        """List the keys that the home had before its present one and that were changed by `rotate_key`, newest first.

        Raises:
            HomeError: the present key is damaged.
        """
        from ipfs_log_handlers.home import key_changes

        key = keys.load(self._dir)
        return () if key is None else tuple(key_changes.of_home(self._dir).before(key.name))

    def rotate_key(self) -> RotatedKey:
        """Change the signing key: both keys sign the end of each log, and the next batches begin new logs.

        The old secret key is removed from the home. Readers who trust only the new key can check all batches; readers
        who trust only the old key can check those up to the change, and are told of the new one. After a crash the home
        has either the old key, and nothing has changed, or the new one; call this again to change the key then.

        Raises:
            HomeError: another process is the keeper, or the home has no key yet.
            OSError: the disk refuses; nothing has changed.
        """
        from ipfs_log_handlers.keeper.key_rotation import rotate

        return rotate(self._dir)

    def export_key(self, path: str | Path, *, passphrase: str | None = None) -> PublicKey:
        """Write the secret signing key to a new file with mode 0600: PKCS #8 in PEM. Anyone who reads it can sign.

        If the home was published, the key of its name comes along.

        Args:
            path: the file; it must not exist.
            passphrase: encrypts the key; `None`: the file holds the key as it is. The passphrase is not stretched much
                (2,048 rounds of PBKDF2), so draw a long one.

        Returns:
            The public half.

        Raises:
            ConfigurationError: the passphrase is empty.
            HomeError: the home has no key, or the key is damaged.
            FileExistsError: the file exists.
            OSError: the file cannot be written; none is left.
        """
        from ipfs_log_handlers.api.key_file import write_key
        from ipfs_log_handlers.home import name_key

        key = keys.load(self._dir)
        if key is None:
            raise HomeError("the home has no key to export", where=self.path, hint="`ipfs-logs doctor` says why.")
        named = name_key.load(self._dir)
        write_key(Path(path), key, passphrase, named)
        return PublicKey.of(key, None if named is None else named.name)

    def import_key(self, path: str | Path, *, passphrase: str | None = None) -> PublicKey:
        """Give the home the key in a file that `export_key` wrote, or in a copy of `writer.key`.

        The home is made if needed. It must have no key yet, or have lost it; a home with this key is not changed. The
        key of a name in the file is given to a home that has none. After a crash the home has the keys, one, or none.

        Args:
            path: the file.
            passphrase: that of the export.

        Raises:
            FormatError: the file is damaged, is no exported key, or the passphrase does not fit.
            HomeError: another process is the keeper; the home has another key; or another key has signed its newest
                logs, so that a second key would fork them.
            OSError: the file cannot be read, or the home cannot be written.
        """
        from ipfs_log_handlers.api.key_file import read_key
        from ipfs_log_handlers.keeper.moved import import_key

        found = read_key(Path(path), passphrase)
        return import_key(self._dir, found.key, found.name)

    def same_logs(self, subsystems: Sequence[str] | None = None) -> tuple[SameLog, ...]:
        """Let the logs of a home that was moved go on, although its files are copies.

        Call this once, before a program logs to the home at its new place, and only if no program will ever log to the
        original again: a log with two homes is forked. Without this call the next batch begins a new log.

        Args:
            subsystems: names; `None`: all.

        Returns:
            The logs; `reason` says why one ends all the same.

        Raises:
            ConfigurationError: the home does not have a subsystem.
            HomeError: another process is the keeper, the key did not come along, or the files still change.
        """
        from ipfs_log_handlers.keeper.moved import same_logs

        return tuple(same_logs(self._dir, self._chosen(subsystems)))

    def new_log(self, subsystem: str) -> EndedLog:
        """End the log of a subsystem. The next batch begins a new log, with the last checkpoint of the old one.

        Call this after a home was replaced by an older copy of itself in a way that no program can detect, for example
        after a VM snapshot was restored: no batch number may be signed twice.

        Raises:
            ConfigurationError: the home has no such subsystem, or the subsystem has no log.
            HomeError: another process is the keeper.
        """
        from ipfs_log_handlers.keeper.new_log import end_on_request

        (subsystem_dir,) = self._chosen([subsystem])
        return end_on_request(self._dir, subsystem_dir)
