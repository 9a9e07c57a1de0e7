"""Check a bundle: that a key has signed a log in which one record has its place. No home and no network is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipfs_log_handlers.errors import ConfigurationError, VerificationError
from ipfs_log_handlers.format.checkpoint import VerifierKey, key_name_of, subsystem_of
from ipfs_log_handlers.format.moment import rfc3339
from ipfs_log_handlers.format.proof import Bundle
from ipfs_log_handlers.reader.lines import record_of

__all__ = ["ProvenRecord", "check"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenRecord:
    """A record that a bundle has proved, and its place. Times are RFC 3339 in UTC, CIDs and hashes text."""

    record: Mapping[str, Any]
    """The record as it was logged, and its `subsystem`."""
    line: bytes
    """Its JSON, byte for byte as it was signed, without `subsystem`."""
    subsystem: str
    """Its subsystem."""
    log: str
    """Name of its log."""
    index: int
    """Number of its batch in the log, from 0."""
    number: int
    """Its number in the batch, from 0."""
    records: int
    """Number of records in the batch."""
    cid: str
    """CID of the manifest of its batch."""
    sealed: str
    """Time at which the batch was sealed, by the clock of the machine that logged."""
    tree_size: int
    """Number of batches in the signed checkpoint."""
    tree_root: str
    """Root of the tree over these batches, hex."""
    key: str
    """Name of the key that signed."""

    def as_json(self) -> dict[str, Any]:
        """Return the value with the keys of `ipfs-logs check`."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "line"}


def check(bundle: bytes, key: str | Sequence[str]) -> ProvenRecord:
    """Check a bundle that `Dataset.prove`, `Home.prove` or `ipfs-logs prove` has made.

    The time in `sealed` is what the machine that logged said. That a record is proven means: who has the key signed
    a log with this record at this place. It does not say that the log has no other records, or what is true.

    Args:
        bundle: the bytes.
        key: the verifier key to trust, one line as `ipfs-logs keys show` prints it; or several keys, one of which must
            have signed.

    Returns:
        The record and its place.

    Raises:
        VerificationError: no trusted key has signed it, or record, batch and checkpoint do not belong together.
        FormatError: the bundle is not a bundle, or the key is malformed.
        ConfigurationError: there is no key.
    """
    keys = [VerifierKey.parse(text) for text in ([key] if isinstance(key, str) else key)]
    if not keys:
        raise ConfigurationError("no key to trust", where="key", expected="a line that `ipfs-logs keys show` prints")
    found = Bundle.decode(bundle)
    log = found.manifest.log
    trusted = next((one for one in keys if one.name == key_name_of(log)), None)
    if trusted is None:
        raise VerificationError(
            "no trusted key has signed the log",
            expected=" or ".join(one.name for one in keys),
            found=log,
            hint="Ask who runs the log for the line that `ipfs-logs keys show` prints there.",
        )
    claim = found.verify(trusted)
    manifest, subsystem = found.manifest, subsystem_of(log)
    return ProvenRecord(
        record=record_of(found.line, subsystem),
        line=found.line,
        subsystem=subsystem,
        log=log,
        index=manifest.index,
        number=found.number,
        records=manifest.records,
        cid=found.cid.text,
        sealed=rfc3339(manifest.sealed),
        tree_size=claim.size,
        tree_root=claim.root.hex(),
        key=trusted.name,
    )
