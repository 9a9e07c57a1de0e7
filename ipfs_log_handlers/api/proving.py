"""Make bundles from any source of records, write them, and read the keys that check them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ipfs_log_handlers.errors import ConfigurationError, LogStoreError
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of
from ipfs_log_handlers.home import keys
from ipfs_log_handlers.home.layout import HomeDir

if TYPE_CHECKING:
    from ipfs_log_handlers.reader.identities import Identities
    from ipfs_log_handlers.reader.parts import Source

__all__ = ["keys_to_trust", "prove_from_head", "proved", "write_bundle"]

_MAX_KEYS_BYTES: Final = 64 * 1024
"""Bytes of a file with keys."""


def proved(source: Source, log: str, index: int, number: int) -> bytes:
    """Make the bundle of a record; of a home, check the signature, too, if its key is still that of the log.

    Args:
        source: the source that has the record.
        log: name of its log.
        index: number of its batch.
        number: its number in the batch.

    Raises:
        LogStoreError, OSError: as `verify.prove.prove_record`.
    """
    from ipfs_log_handlers.reader.gaps import AnotherBatchError
    from ipfs_log_handlers.reader.home_parts import HomeSource
    from ipfs_log_handlers.reader.sealed_log import ProvingSource
    from ipfs_log_handlers.verify.prove import prove_record

    if not isinstance(source, ProvingSource):
        raise ConfigurationError("records of this source cannot be proved", found=type(source).__name__)
    try:
        bundle = prove_record(source.sealed_log(log), index, number)
    except (FileNotFoundError, AnotherBatchError):  # the log may just have ended, and its files moved
        bundle = prove_record(source.sealed_log(log), index, number)
    if isinstance(source, HomeSource):
        own = None
        with suppress(LogStoreError, OSError):  # the home of another user
            own = keys.load(HomeDir(source.reader.home.path))
        if own is not None and own.name == key_name_of(log):
            bundle.verify(own.verifier)
    return bundle.encode()


def prove_from_head(
    head: str,
    cid: str,
    number: int,
    *,
    kubo: str | None = None,
    gateway: str | None = None,
    keys: Sequence[str] = (),
    token: str | None = None,
    identity: Identities | None = None,
    key_directory: str | Path | None = None,
) -> bytes:
    """Make the bundle of a record from a head block, of whose log a daemon or gateway has the blocks; without a home.

    The log is not walked: of a million manifests, some 300 at most are asked for.

    Args:
        head: CID of the head block, or a name `/ipns/…` that points to it.
        cid: CID of the manifest of the batch.
        number: number of the record in the batch, from 0.
        kubo: address of the daemon that is asked.
        gateway: address of the gateway that is asked.
        keys: the verifier keys to trust: one of them must have signed the head.
        token: credential of the daemon.
        identity: opens an encrypted batch, as for `open_dataset`.
        key_directory: as for `open_dataset`.

    Raises:
        RecordError: the batch has no such record.
        NoIdentityError: the batch is encrypted, and no identity opens it.
        VerificationError: no trusted key has signed the head, the batch is not in its log, or a block is damaged.
        StoreError: a block cannot be got.
        ConfigurationError, FormatError: an argument is malformed.
    """
    from ipfs_log_handlers.api.opening import open_dataset
    from ipfs_log_handlers.format.cid import Cid
    from ipfs_log_handlers.reader.head_parts import HeadSource
    from ipfs_log_handlers.reader.named_parts import NamedSource

    batch = Cid.from_user(cid)
    with open_dataset(
        head, kubo=kubo, gateway=gateway, keys=keys, token=token, identity=identity, key_directory=key_directory
    ) as dataset:
        source = dataset.sources[0]
        chain = source.current() if isinstance(source, NamedSource) else source
        if not isinstance(chain, HeadSource):
            raise ConfigurationError("not the CID of a head block, nor a name", where="head", found=head)
        log, index = chain.named(batch)
        return proved(chain, log, index, number)


def write_bundle(path: str | Path, bundle: bytes) -> None:
    """Write a bundle to a file, which has its name once it is whole and on the disk; one of that name is replaced.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    from ipfs_log_handlers.query.export import replacing

    with replacing(Path(path)) as stream:
        stream.write(bundle)


def keys_to_trust(given: Sequence[str]) -> tuple[str, ...]:
    """Return verifier keys, each given as its line or as the name of a file with such lines.

    Args:
        given: lines as `ipfs-logs keys show` prints them, or names of files.

    Raises:
        ConfigurationError: one is neither a key nor a file with keys.
        FormatError: a key is malformed.
        OSError: a file cannot be read.
    """
    return tuple(key for text in given for key in _keys_of(text))


def _keys_of(text: str) -> list[str]:
    if text.count("+") >= 2 and not os.path.exists(text):
        return [VerifierKey.parse(text.strip()).text]
    if not os.path.exists(text):
        raise ConfigurationError(
            "neither a verifier key nor a file with one",
            where="--key",
            expected="a line that `ipfs-logs keys show` prints",
            found=ascii(text)[:200],
        )
    with open(text, "rb") as stream:
        lines = stream.read(_MAX_KEYS_BYTES).decode("utf-8", "replace").splitlines()
    found = [VerifierKey.parse(line.strip()).text for line in lines if line.strip()]
    if not found:
        raise ConfigurationError("the file has no key", where=text)
    return found
