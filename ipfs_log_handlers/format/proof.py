"""Read and write the bundle that proves one record: offline, with one key, and without any other record.

A bundle is canonical DAG-CBOR, `{v, line, number, salt, path, manifest, proof}`:

    line, number, salt      a record and its own 16-byte salt: together the leaf `number` of its batch's record tree
    path                    the hashes from this leaf to `root` of the manifest, 32 bytes each, nearest first
    manifest                the block of the batch's manifest, whose CID is leaf `index` of the log's tree
    proof                   the text of a C2SP tlog-proof: from that leaf to the root of a signed checkpoint

The salt of a record tells nothing about those of others, and hashes of salted records tell nothing about these; the
manifest has the metadata of the whole batch (docs/formats.md, "Bundle"). Each bundle has one encoding: a changed byte
makes another bundle, and no such bundle passes `Bundle.verify` with the same key.
"""

from __future__ import annotations

from dataclasses import dataclass

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import dagcbor, manifest, merkle
from ipfs_log_handlers.format.checkpoint import Checkpoint, VerifierKey, key_name_of
from ipfs_log_handlers.format.cid import DAG_CBOR, Cid
from ipfs_log_handlers.format.line import MAX_LINE_BYTES
from ipfs_log_handlers.format.manifest import Manifest
from ipfs_log_handlers.format.tlog_proof import MAX_HASHES, MAX_PROOF, TlogProof

__all__ = ["MAX_BUNDLE", "Bundle"]

VERSION = 1
"""Version of this format; no other version is read."""
MAX_BUNDLE = MAX_LINE_BYTES + 32 * MAX_HASHES + manifest.MAX_BLOCK + MAX_PROOF + 256
"""Bytes of a bundle; a longer one is not read."""

_KEYS = ("v", "line", "number", "salt", "path", "manifest", "proof")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One record and all that shows it to be in a signed log.

    Raises:
        FormatError: the parts do not make a bundle.
    """

    line: bytes
    """The record: the JSON of its line, without LF."""
    number: int
    """Number of the record in its batch, from 0."""
    salt: bytes
    """The 16 bytes of salt of this record."""
    path: tuple[bytes, ...]
    """The inclusion proof of the record in the tree of its batch."""
    manifest: Manifest
    """The manifest of the batch."""
    proof: TlogProof
    """The proof that the manifest is in the tree of a checkpoint."""

    def __post_init__(self) -> None:
        if type(self.line) is not bytes or len(self.line) > MAX_LINE_BYTES or b"\n" in self.line:
            raise FormatError("not the line of a record", expected=f"at most {MAX_LINE_BYTES} bytes without LF")
        if type(self.number) is not int or self.number < 0:
            raise FormatError("not the number of a record", expected="0 or more", found=ascii(self.number))
        if type(self.salt) is not bytes or len(self.salt) != merkle.RECORD_SALT_SIZE:
            raise FormatError("the salt of a record has 16 bytes", found=ascii(self.salt)[:80])
        if len(self.path) > MAX_HASHES or not all(type(each) is bytes and len(each) == 32 for each in self.path):
            raise FormatError("not the path of a record", expected=f"at most {MAX_HASHES} hashes of 32 bytes each")

    @classmethod
    def decode(cls, data: bytes) -> Bundle:
        """Read a bundle. Nothing that it claims is checked: `verify` does that.

        Raises:
            FormatError: it is not a bundle in its one encoding, or one of a version that this code does not know.
        """
        value = dagcbor.decode_map(data, "a bundle", version=VERSION, keys=_KEYS, max_bytes=MAX_BUNDLE)
        for key in ("line", "salt", "path", "manifest", "proof"):
            if type(value[key]) is not bytes:
                raise FormatError("a part of a bundle is not bytes", where=key, found=type(value[key]).__name__)
        path: bytes = value["path"]
        if len(path) % 32:
            raise FormatError("a path is hashes of 32 bytes each", where="path", found=f"{len(path)} bytes")
        return cls(
            line=value["line"],
            number=value["number"],
            salt=value["salt"],
            path=tuple(path[at : at + 32] for at in range(0, len(path), 32)),
            manifest=Manifest.decode(value["manifest"]),
            proof=TlogProof.decode(value["proof"]),
        )

    def encode(self) -> bytes:
        """Return the bytes."""
        return dagcbor.encode(
            {
                "v": VERSION,
                "line": self.line,
                "number": self.number,
                "salt": self.salt,
                "path": b"".join(self.path),
                "manifest": self.manifest.encode(),
                "proof": self.proof.encode(),
            }
        )

    @property
    def cid(self) -> Cid:
        """The CID of the manifest, whose block is in the bundle."""
        return Cid.of(DAG_CBOR, self.manifest.encode())

    def verify(self, key: VerifierKey) -> Checkpoint:
        """Check that `key` signed a log in which the record has this place; return the signed checkpoint.

        Raises:
            VerificationError: the key is that of another log, or did not sign the checkpoint; or record, batch and
                checkpoint do not belong together.
        """
        if key_name_of(self.manifest.log) != key.name:
            raise VerificationError(
                "the log belongs to another key",
                expected=key.name,
                found=self.manifest.log,
                hint="Give the key that `ipfs-logs keys show` prints on the machine that logs.",
            )
        self.check_hashes()
        return self.proof.open(key)

    def check_hashes(self) -> Checkpoint:
        """Check all but the signature: that the record is in the batch, and the batch in the checkpoint's tree.

        Raises:
            VerificationError: it is not.
        """
        claim = self.proof.claim
        for what, expected, found in (
            ("log", self.manifest.log, claim.origin),
            ("batch", self.manifest.index, self.proof.index),
        ):
            if expected != found:
                raise VerificationError(
                    f"manifest and checkpoint are not of one {what}", expected=expected, found=found
                )
        self.proof.check_leaf(merkle.leaf_hash(self.cid))
        leaf = merkle.record_leaf(self.salt, self.line)
        merkle.verify_inclusion(leaf, self.number, self.manifest.records, self.path, self.manifest.root)
        return claim
