"""Find and open a home, and open records from anywhere as one dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from ipfs_log_handlers.api.home import Home
from ipfs_log_handlers.api.proving import proved
from ipfs_log_handlers.concurrency import clock
from ipfs_log_handlers.config import configured_home, homes_directory
from ipfs_log_handlers.errors import (
    ConfigurationError,
    ErasedError,
    NoIdentityError,
    StoreUnavailable,
    VerificationError,
)
from ipfs_log_handlers.home import lookup
from ipfs_log_handlers.home.layout import HomeDir
from ipfs_log_handlers.home.logs import logs_of

if TYPE_CHECKING:  # imported by the methods that need it: `ipfs-logs status` loads no query engine
    from ipfs_log_handlers.format.checkpoint import VerifierKey
    from ipfs_log_handlers.keeper.run import Stop
    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.reader.dataset import Gap
    from ipfs_log_handlers.reader.identities import Identities
    from ipfs_log_handlers.reader.parts import Source

__all__ = ["find_home", "open_dataset", "open_home", "wait_for_home"]

_POLL_S: Final = 0.5
"""Seconds between two checks whether a missing home exists now."""


def open_home(path: str | Path | None = None, *, must_exist: bool = True) -> Home:
    """Open a home. Nothing is written, and no network is used.

    Args:
        path: the directory. `None`: the home that this program logs to without a `home` setting, which is
            `IPFS_LOGS_HOME`, else the program's own directory below the user's state directory.
        must_exist: whether a missing directory is an error. Use false in a program that opens its own home before its
            first record: until the home exists, the methods return empty results.

    Raises:
        HomeError: the directory is missing, or belongs to something else.
        ConfigurationError: the path is malformed.
        OSError: the directory cannot be read.
    """
    home = HomeDir(configured_home(path))
    if must_exist or home.path.exists():
        lookup.check_home(home)
    return Home(home.path)


def find_home() -> Path:
    """Find the home for a command without `--home`: `IPFS_LOGS_HOME`, else the only home of this user.

    Raises:
        HomeError: this user has no home, or more than one.
        ConfigurationError: the variable is malformed, or the user has no home directory.
    """
    return configured_home() if os.environ.get("IPFS_LOGS_HOME") else lookup.only_home()


def wait_for_home(stop: Stop, on_wait: Callable[[Path], None] | None = None) -> Path | None:
    """Find the same home as `find_home`; if this user has no home yet, wait for the first one.

    Args:
        stop: ends the wait.
        on_wait: called once with the watched directory, if the function must wait.

    Returns:
        The home; `None` if `stop` was requested first.

    Raises:
        HomeError: this user has more than one.
        ConfigurationError: the variable is malformed, or the user has no home directory.
    """
    if os.environ.get("IPFS_LOGS_HOME"):
        return configured_home()
    if on_wait is not None and not lookup.default_homes():
        on_wait(homes_directory())
    while not lookup.default_homes():
        if stop.requested:
            return None
        clock.pause(_POLL_S)
    return lookup.only_home()


def open_dataset(
    source: str | Path | Home | Sequence[str | Path | Home] | None = None,
    *,
    on_gap: Callable[[Gap], None] | None = None,
    verify: Literal["off", "batch", "chain"] = "batch",
    keys: Sequence[str] = (),
    kubo: str | None = None,
    gateway: str | None = None,
    sealed_only: bool = False,
    stores: Sequence[str] = (),
    token: str | None = None,
    fetch: bool = False,
    identity: Identities | None = None,
    key_directory: str | Path | None = None,
) -> Dataset:
    """Open the records of one or more sources as one dataset, to filter, iterate over or count them.

    Args:
        source: a home or its directory, a CAR file, a directory with CAR files, the CID of a head block, manifest,
            snapshot or home head, a name `/ipns/…` that leads to the newest head of a log or home, the file of a home
            head, or a list of these. Of a home head, all logs are read. The records of several sources are merged by
            time. `None`: the home that this program logs to without a `home` setting.
        on_gap: called for each batch, and each damaged part of the spool, that cannot be shown, and reading goes on
            after it. Without this argument, a gap raises an error.
        verify: `batch`: each block that is read is hashed before its records are used. `chain`: the whole chain of
            each log of a home is verified first, up to the signed checkpoint, and the tree of the records of each
            batch is computed anew. `off`: the files of a home are not hashed; use it on your own disk.
        keys: the verifier keys to trust. A key must have signed each log in CAR files and CIDs; in a home, the newest
            head of each log, and each batch; the index of the home, which nobody has signed, is not used. Lines in the
            spool are not signed yet. Without keys, signatures are checked only with `chain`, with the home's own key.
            In a home, the newest key is enough for the logs of earlier keys, up to the change that it has signed, too.
        kubo: address of the daemon that is asked for the blocks of a CID; it returns only blocks that it has itself.
        gateway: address of the HTTP gateway that is asked for these blocks, as raw blocks.
        sealed_only: leave out the records that are in no batch yet.
        stores: addresses that are asked for payloads which have left the home, beside those of `IPFS_LOGS_KUBO` and of
            handlers that are open in this process.
        token: credential of these stores, or of the daemon.
        fetch: also ask stores whose address is only in the home's files. They get no credential: a home may come from
            another person.
        identity: a file with age identities or an ssh-ed25519 key, or the text of an identity; or several. They open
            encrypted batches: as the keys of periods, or by unwrapping these from a key directory. `None`: the file in
            `IPFS_LOGS_IDENTITY`. Batches that no identity opens are gaps.
        key_directory: a key directory beside those of the homes, for the batches of other sources.

    Raises:
        HomeError: a directory is missing, or belongs to something else.
        VerificationError: with `chain`, a log differs from its signed state. While reading: none of the keys has signed
            a head block; or, without `on_gap`, a batch or a part of the spool is damaged.
        StoreUnavailable: while reading, without `on_gap`: no store has a payload that has left the home.
        NoIdentityError: while reading, without `on_gap`: no identity opens a batch; or (`ErasedError`) nobody can.
        ConfigurationError: an argument is malformed, an identity cannot be read, a CID or name is given without `kubo`
            or `gateway`, or a name or the file of a home head is given without `keys`.
    """
    from ipfs_log_handlers.api.verification import Origin, SourceVerifier
    from ipfs_log_handlers.format.checkpoint import VerifierKey
    from ipfs_log_handlers.query.dataset import Dataset
    from ipfs_log_handlers.reader.dataset import Dataset as LogOrder
    from ipfs_log_handlers.reader.home_parts import HomeSource
    from ipfs_log_handlers.reader.identities import keyring_of
    from ipfs_log_handlers.reader.imported_parts import ImportedSource
    from ipfs_log_handlers.runtime.process import configured_stores

    if verify not in ("off", "batch", "chain"):
        raise ConfigurationError("not a way to verify", where="verify", expected="off, batch, chain", found=verify)
    given = [source] if source is None or isinstance(source, (str, Path, Home)) else list(source)
    trusted = [VerifierKey.parse(text) for text in keys]
    report = on_gap or _raise_gap
    own = configured_stores()
    home_token = None if kubo is not None and not stores else token
    sources: list[Source] = []
    origins: list[Origin] = []
    homes: set[Path] = set()
    elsewhere_keys = keyring_of(identity, key_directory, None)
    for origin in given:
        if origin is not None and not isinstance(origin, Home):
            from ipfs_log_handlers.query.opening import open_elsewhere

            again = partial(
                open_elsewhere, origin, keys=trusted, verify="batch", kubo=kubo, gateway=gateway, token=token,
                keyring=elsewhere_keys,
            )  # fmt: skip
            elsewhere = again(report, verify=verify)
            if elsewhere is not None:
                sources.append(elsewhere)
                origins.append(Origin(elsewhere, origin, again))
                continue
        home = origin if isinstance(origin, Home) else open_home(origin)
        directory = Path(home.path).resolve()
        if directory in homes:
            continue
        homes.add(directory)
        if verify == "chain":
            _check_chain(home, keys, identity, key_directory)
        signed_by = _check_heads(home, trusted) if trusted else []
        keyring = keyring_of(identity, key_directory, home.path)
        reader = LogOrder(
            HomeDir(home.path), report, stores=stores, token=home_token, fetch=fetch, own=own, keys=signed_by,
            keyring=keyring,
        )  # fmt: skip
        believes_index = verify != "chain" and not trusted  # nobody has signed the index
        imported = ImportedSource(HomeDir(home.path), report, keys=trusted, verify=verify, keyring=keyring)
        sources.append(
            HomeSource(reader, verify=verify, use_index=believes_index, sealed_only=sealed_only, imported=imported)
        )
    only = sources[0] if len(sources) == 1 else None
    return Dataset(
        tuple(sources),
        _prover=proved,
        _verifier=SourceVerifier(tuple(keys), tuple(origins), identity, key_directory),
        _home=only.reader if isinstance(only, HomeSource) else None,
    )


def _check_heads(home: Home, trusted: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Check that trusted keys have signed the newest head of each log, or vouch for it; raise `VerificationError` else.

    Returns:
        The trusted keys, and the earlier keys of the home for which they vouch.
    """
    from ipfs_log_handlers.verify.signers import Signers

    signers = Signers.of(HomeDir(home.path), trusted)
    for subsystem_dir in HomeDir(home.path).subsystem_dirs():
        for log in logs_of(subsystem_dir):
            newest = log.log_dir.newest_batch()
            if newest is not None:
                signers.check_head(newest.head)
    return list(signers.known.values())


def _check_chain(
    home: Home, keys: Sequence[str], identity: Identities | None, key_directory: str | Path | None
) -> None:
    for report in home.verify(keys=keys, identity=identity, key_directory=key_directory):
        if not report.ok:
            problem = report.problems[0] if report.problems else None
            raise VerificationError(
                f"the log {report.log} differs from its signed state"
                + (f": batch {problem.batch}, {problem.field}" if problem is not None else ""),
                expected=problem and problem.expected,
                found=problem and problem.found,
                hint="`ipfs-logs verify` lists all problems.",
            )


def _raise_gap(gap: Gap) -> None:
    if gap.kind in ("encrypted", "erased"):
        from ipfs_log_handlers.reader.gaps import NO_IDENTITY_HINT

        raise ErasedError(str(gap)) if gap.kind == "erased" else NoIdentityError(str(gap), hint=NO_IDENTITY_HINT)
    if gap.kind == "pruned":
        return  # the log itself says that these records are not there any more
    if gap.kind == "absent":
        raise StoreUnavailable(str(gap))
    raise VerificationError(str(gap))
