"""Read and write head blocks: the newest manifest of a log and the checkpoint; its CID is all that a reader needs.

A block of canonical DAG-CBOR, `{v, log, index, manifest: link, checkpoint: bytes}`. The checkpoint decides: the
other keys must agree with it; they are there so that `ipfs dag get` can follow the links.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor
from ipfs_log_handlers.format.checkpoint import MAX_NOTE, Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid

__all__ = ["MAX_BLOCK", "Head"]

VERSION = 1
"""Version of this format; no other version is read."""
MAX_BLOCK = MAX_NOTE + 1024
"""Bytes of a head block; a longer one is not read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of a log at one moment."""

    v: int = VERSION
    """Version of this format."""
    log: str
    """Name of the log, the checkpoint's origin."""
    index: int
    """Number of the newest batch, one less than the checkpoint's size."""
    manifest: Cid
    """The newest manifest."""
    checkpoint: bytes
    """The signed note."""

    def __post_init__(self) -> None:
        if type(self.v) is not int or self.v != VERSION:
            raise FormatError("not a version that this code writes", expected=VERSION, found=ascii(self.v))
        key_name_of(self.log)
        if type(self.manifest) is not Cid or self.manifest.codec != DAG_CBOR:
            raise FormatError("`manifest` is a link to a manifest", found=ascii(self.manifest))
        if type(self.checkpoint) is not bytes:
            raise FormatError("`checkpoint` is bytes", found=type(self.checkpoint).__name__)
        claim = Checkpoint.parse(self.checkpoint)
        if type(self.index) is not int or (claim.origin, claim.size) != (self.log, self.index + 1):
            raise FormatError(
                "a head and its checkpoint are not of the same batch",
                expected=f"{claim.origin} size {claim.size}",
                found=f"{self.log} index {self.index!a}",
            )

    @classmethod
    def decode(cls, block: bytes) -> Head:
        """Read a block. Its signature is not checked: `verify` does that.

        Raises:
            FormatError: it is not a head, or one of a version or with a key that this code does not know.
        """
        return cls(**dagcbor.decode_map(block, "a head", version=VERSION, keys=_KEYS, max_bytes=MAX_BLOCK))

    def encode(self) -> bytes:
        """Return the block."""
        return dagcbor.encode({key: getattr(self, key) for key in _KEYS})

    @property
    def cid(self) -> Cid:
        """The CID of the block."""
        return Cid.of(DAG_CBOR, self.encode())

    def verify(self, key: VerifierKey) -> Checkpoint:
        """Check that `key` signed the checkpoint and that the log belongs to this key; return the checkpoint.

        This does not check that `manifest` is the last leaf of the checkpoint's tree; its `edge` shows that.

        Raises:
            VerificationError: the key did not sign it, or it is another key's log.
        """
        if key_name_of(self.log) != key.name:
            raise VerificationError("the log belongs to another key", expected=key.name, found=self.log)
        return Checkpoint.open(self.checkpoint, key)


_KEYS = tuple(field.name for field in fields(Head))
"""The keys of a head block."""
