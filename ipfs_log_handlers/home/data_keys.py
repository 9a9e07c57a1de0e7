"""Make, find and unwrap the keys to which batches are encrypted; `key_directory.py` names their files.

Two ways lead to a key. The machine that logs makes it, wraps it for the recipients of the settings, and keeps only the
public key. Or another machine has issued it (`issue`), and this one gets only the public key (`accept`), so that it
never has a secret.

The order of the steps is a promise: nothing is encrypted to a key before its `.json` is on the disk, and the `.json`
is written after the `.age` is on the disk. So no process can be killed so that there is a batch that nobody can open.
A key is used only while its `.age` has the checksum in the `.json`; after a lost or damaged one, a further key is made.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ipfs_log_handlers.config import Encrypt
from ipfs_log_handlers.errors import (
    ConfigurationError,
    HomeError,
    ReplayedKeyError,
    VerificationError,
    WrongIdentityError,
)
from ipfs_log_handlers.format.encryption import age_library
from ipfs_log_handlers.format.kid import Kid, period_of
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.home import disk, scope_keys
from ipfs_log_handlers.home.key_directory import (
    MAX_BYTES,
    KeyFiles,
    KeyState,
    KnownKey,
    PublicPart,
    keys_in,
    kids_of,
    load,
    locked,
    next_kid,
    sha256,
    state,
)
from ipfs_log_handlers.home.layout import HomeDir

__all__ = [
    "MAX_SCOPES",
    "DataKey",
    "KeyState",
    "KnownKey",
    "MissingKeyError",
    "accept",
    "issue",
    "key_for",
    "keys_for",
    "keys_in",
    "kids_of",
    "load",
    "state",
    "unwrap",
    "usable_key",
]


MAX_SCOPES: Final = 4096
"""Largest number of values of a field that have keys of their own in one period; further values share the key of the
records without the field."""
_MAX_TRIES: Final = 8
"""Tries to find the keys of values while another process destroys the secret of their names."""


class MissingKeyError(HomeError):
    """There is no key to encrypt to, and none can be made; or the secret of a key is not here."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A key to which batches are encrypted."""

    kid: str
    """Its id, `<subsystem>/<period>`, `_` and the id of a value if it is the key of one, and for further keys of the
    period a number from 2 on after a dot."""
    recipient: str
    """The public key, `age1…`."""


def key_for(home: HomeDir, subsystem: str, encrypt: Encrypt, now: int) -> DataKey:
    """Return the key to which a batch is encrypted that is sealed now; it is made if there is none.

    It is an issued key of the period, else one that was wrapped for exactly the recipients of the settings: when these
    change, a further key is made. On return the key and its wrapped secret survive a power cut.

    Args:
        home: the home.
        subsystem: the subsystem of the batch.
        encrypt: the settings.
        now: time of sealing, µs since 1970.

    Raises:
        MissingKeyError: the settings name no recipient, and no key was issued for the period.
        ConfigurationError: pyrage is not installed.
        OSError: the disk refuses. Nothing was encrypted, and the next call begins again.
    """
    period = period_of(now, encrypt.period)
    usable = usable_key(home, subsystem, period, encrypt.recipients)
    if usable is not None:
        return usable
    if not encrypt.recipients:
        raise MissingKeyError(
            f"no key was issued for {subsystem} in {period}, so its records wait and are not sealed",
            where=home.keys,
            hint="Let the holder of the keys run `ipfs-logs keys issue`, and `ipfs-logs keys accept` here.",
        )
    with locked(home):
        usable = usable_key(home, subsystem, period, encrypt.recipients)
        return usable or _make(home, next_kid(home, subsystem, period), encrypt.recipients, now)


def keys_for(
    home: HomeDir, subsystem: str, encrypt: Encrypt, now: int, values: Collection[str | None]
) -> dict[str | None, DataKey]:
    """Return the key for the records with each value of the field `encrypt.scope`; those that are missing are made.

    Records without the field, `None`, share the key that `key_for` returns. So do those of further values where
    `MAX_SCOPES` values have a key of this period.

    Args:
        home: the home.
        subsystem: the subsystem of the batches.
        encrypt: the settings, with recipients.
        now: time of sealing, µs since 1970.
        values: the values, by `scope_keys.text_of`.

    Raises:
        HomeError: the secret of their names is lost or damaged, or keys are destroyed all the time.
        ConfigurationError, OSError: as `key_for`.
    """
    period = period_of(now, encrypt.period)
    for _ in range(_MAX_TRIES):
        secret = scope_keys.load_or_make(home, subsystem, period)
        scopes = {value: "" if value is None else scope_keys.scope_of(secret, value) for value in values}
        found = _known_keys(home, subsystem, period, encrypt.recipients, set(scopes.values()))
        if found.keys() < set(scopes.values()):
            with locked(home):
                if scope_keys.load(home, subsystem, period) != secret:
                    continue  # the period was erased meanwhile: the ids have another secret now
                found = _completed(home, subsystem, encrypt, now, list(dict.fromkeys(scopes.values())))
        return {value: found[scope] for value, scope in scopes.items()}
    raise HomeError("the keys of values are destroyed again and again", where=home.keys, hint="Run this again.")


def _known_keys(
    home: HomeDir, subsystem: str, period: str, recipients: Sequence[str], scopes: Collection[str]
) -> dict[str, DataKey]:
    """Find the keys of some scopes that may be used by their names, because a period may have thousands of keys.

    One whose number does not follow those before it is not found; `_usable_keys` finds it.
    """
    found: dict[str, DataKey] = {}
    for scope in scopes:
        kids: list[str] = []
        while state(home, kid := _numbered(subsystem, period, scope, len(kids) + 1)) != "missing":
            kids.append(kid)
        key = _usable(home, kids, recipients)
        if key is not None:
            found[scope] = key
    return found


def _numbered(subsystem: str, period: str, scope: str, number: int) -> str:
    return Kid(subsystem=subsystem, period=period, scope=scope, number=number).text


def _usable_keys(
    home: HomeDir, subsystem: str, period: str, recipients: Sequence[str], scopes: Collection[str]
) -> dict[str, DataKey]:
    """Find the keys of some scopes that may be used; the directory is listed once."""
    kids: dict[str, list[str]] = {}
    for kid in kids_of(home, subsystem, period):
        kids.setdefault(Kid.parse(kid).scope, []).append(kid)
    chosen = {scope: _usable(home, kids.get(scope, ()), recipients) for scope in scopes}
    return {scope: key for scope, key in chosen.items() if key is not None}


def _completed(home: HomeDir, subsystem: str, encrypt: Encrypt, now: int, scopes: Sequence[str]) -> dict[str, DataKey]:
    """Return the keys of some scopes, and make those that are missing. The caller holds the lock."""
    period = period_of(now, encrypt.period)
    known = {Kid.parse(kid).scope for kid in kids_of(home, subsystem, period)} - {""}
    found = _usable_keys(home, subsystem, period, encrypt.recipients, {*scopes, ""})
    for scope in scopes:
        if scope not in found:
            own = "" if scope not in known and len(known) >= MAX_SCOPES else scope
            if own not in found:
                kid = next_kid(home, subsystem, period, own)
                found[own] = _make(home, kid, encrypt.recipients, now)
            found[scope] = found[own]
            known |= {own} - {""}
    return found


def usable_key(home: HomeDir, subsystem: str, period: str, recipients: Sequence[str]) -> DataKey | None:
    """Find the newest key of a period that may be used, for records of no value: issued keys come first.

    Args:
        home: the home.
        subsystem: the subsystem.
        period: the period.
        recipients: those for whom a key must be wrapped that was not issued.

    Raises:
        OSError: the key directory cannot be read.
    """
    return _usable_keys(home, subsystem, period, recipients, ("",)).get("")


def _usable(home: HomeDir, kids: Sequence[str], recipients: Sequence[str]) -> DataKey | None:
    known = [load(home, kid) for kid in reversed(kids)]
    fitting = [key for key in known if key.state in ("present", "issued") and key.damage is None and key.recipient]
    chosen = next((key for key in fitting if not key.wrapped_for), None) or next(
        (key for key in fitting if sorted(key.wrapped_for) == sorted(recipients)), None
    )
    return None if chosen is None or chosen.recipient is None else DataKey(chosen.kid, chosen.recipient)


def _make(place: HomeDir | Path, kid: str, recipients: Sequence[str], now: int) -> DataKey:
    """Make a key, the wrapped secret first. The caller holds the lock.

    A `.age` without `.json` is of a process that was killed here, or its `.json` was lost: it is never overwritten.
    """
    files = KeyFiles.of(place, kid)
    files.make_directories()
    disk.sweep(files.directory)
    identity = age_library().x25519.Identity.generate()
    recipient = str(identity.to_public())
    text = f"# created: {rfc3339(now)}\n# key of {kid}\n# public key: {recipient}\n{identity}\n"
    wrapped = _wrap(text, recipients)
    disk.replace(files.wrapped, wrapped)
    public = PublicPart(recipient, tuple(recipients), sha256(wrapped), now)
    disk.replace(files.public, public.encode(kid))
    return DataKey(kid, recipient)


def _wrap(identity: str, recipients: Sequence[str]) -> bytes:
    pyrage = age_library()
    parsed = [
        (pyrage.ssh if recipient.startswith("ssh-") else pyrage.x25519).Recipient.from_str(recipient)
        for recipient in recipients
    ]
    wrapped: bytes = pyrage.encrypt(identity.encode(), parsed)
    return wrapped


def issue(
    directory: Path, subsystem: str, periods: Sequence[str], recipients: Sequence[str], now: int
) -> list[DataKey]:
    """Make the keys of periods ahead, in a key directory that is not the one of the home.

    A period that has a key which can be used keeps it, so a call that was killed can be made again.

    Args:
        directory: the key directory of the holder of the keys.
        subsystem: the subsystem.
        periods: the periods.
        recipients: those for whom the secret keys are wrapped.
        now: the time, µs since 1970.

    Returns:
        The keys, in the order of the periods. Give them to `accept` on the machine that logs.

    Raises:
        ConfigurationError: pyrage is not installed, or there is no recipient.
        OSError: the disk refuses.
    """
    if not recipients:
        raise ConfigurationError("a key that nobody can unwrap would open nothing", where="recipients")
    issued = []
    with locked(directory):
        for period in periods:
            kids = [kid for kid in kids_of(directory, subsystem, period) if not Kid.parse(kid).scope]
            known = [load(directory, kid) for kid in kids]
            ready = [key for key in known if key.state == "present" and key.damage is None and key.recipient]
            if ready and ready[-1].recipient:
                issued.append(DataKey(ready[-1].kid, ready[-1].recipient))
            else:
                issued.append(_make(directory, next_kid(directory, subsystem, period), recipients, now))
    return issued


def accept(home: HomeDir, issued: Sequence[DataKey], now: int) -> list[DataKey]:
    """Store the public keys of issued keys, so that batches are encrypted to them; return those that are new here.

    Raises:
        HomeError: another key has this id here, or it was shredded; the keys before it are stored.
        OSError: the disk refuses.
    """
    new = []
    with locked(home):
        for key in issued:
            files = KeyFiles.of(home, key.kid)
            known = load(home, key.kid)
            if known.state == "missing":
                files.make_directories()
                disk.replace(files.public, PublicPart(key.recipient, (), None, now).encode(key.kid))
                new.append(key)
            elif known.state.startswith("shred") or known.damage is not None or known.recipient != key.recipient:
                raise HomeError(
                    f"the id {key.kid} belongs here to another key, or to one that was shredded or damaged",
                    where=files.public,
                    found=known.recipient or known.state,
                    hint="Issue the keys into the key directory from which the earlier ones came.",
                )
    return new


def unwrap(place: HomeDir | Path, kid: str, identities: Sequence[Any]) -> str:
    """Unwrap the secret key of a period, and check that it belongs to its public key.

    Args:
        place: a home, or a key directory.
        kid: the id of the key.
        identities: identities of pyrage; one of them must be a recipient of the wrapped key.

    Returns:
        The secret key, `AGE-SECRET-KEY-…`. It is in no file, and must not be written to one.

    Raises:
        MissingKeyError: the wrapped key is not here: it was issued, destroyed, or never here.
        WrongIdentityError: none of the identities opens it.
        VerificationError: it is damaged, or (`ReplayedKeyError`) the key of another period.
        OSError: it cannot be read.
    """
    files = KeyFiles.of(place, kid)
    try:
        wrapped = disk.read(files.wrapped, MAX_BYTES)
    except FileNotFoundError as error:
        raise MissingKeyError(
            f"the secret key of {kid} is not here: it is {state(place, kid)}", where=files.wrapped
        ) from error
    pyrage = age_library()
    try:
        text = pyrage.decrypt(wrapped, list(identities)).decode()
    except (pyrage.DecryptError, UnicodeDecodeError) as error:
        if "No matching keys" in str(error):
            raise WrongIdentityError(
                "none of the identities opens the key of this period", where=files.wrapped
            ) from error
        raise VerificationError("the wrapped key of this period is damaged", where=files.wrapped) from error
    secret = next((row for row in text.splitlines() if row.startswith("AGE-SECRET-KEY-")), "")
    try:
        recipient = str(pyrage.x25519.Identity.from_str(secret).to_public())
    except pyrage.IdentityError as error:
        raise VerificationError("this is not the secret key of a period", where=files.wrapped) from error
    known = load(place, kid)
    if known.recipient is not None and known.recipient != recipient:
        raise ReplayedKeyError(
            "this is the secret key of another period", where=files.wrapped, expected=known.recipient, found=recipient
        )
    return secret
