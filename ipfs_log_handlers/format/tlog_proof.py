"""Read and write the proof that a leaf is in the tree of a signed checkpoint: a text, C2SP tlog-proof.

    c2sp.org/tlog-proof@v1
    index 73894                                number of the leaf, from 0
    gSKyXoYZUgZ6jduWYrkDOARinOMGJveXjgMkBTcdPlQ=   the hashes of the inclusion proof in base64, nearest first
                                               an empty line ends the hashes
    ipfs-logs/6ac6…/audit/1b0e44d2             the checkpoint, a signed note

Each proof has one spelling: a text that was read is encoded again and compared. The line `extra` of the specification
is not written and not read: nobody signs it. The note has one signature line, that of the log's own key, for the same
reason: who checks the proof with this key cannot check another line.

Spec: https://c2sp.org/tlog-proof.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import MAX_SIZE, Checkpoint, VerifierKey, key_name_of, signers_of

__all__ = ["MAX_HASHES", "TlogProof"]

MAX_HASHES = 63
"""Hashes of an inclusion proof: a tree has less than 2^63 leaves."""
MAX_PROOF = 8 * 1024
"""Bytes of a proof; a longer one is neither written nor read."""

_MAX_BEFORE = 64 * 45
"""Bytes of a proof before the checkpoint, at most."""
_HEADER = b"c2sp.org/tlog-proof@v1\n"
_INDEX = re.compile(rb"index (0|[1-9][0-9]{0,18})")
_HASH = re.compile(rb"[A-Za-z0-9+/]{43}=")  # 32 bytes


@dataclass(frozen=True, slots=True)
class TlogProof:
    """A leaf's number, the hashes to the root, and the checkpoint with the root.

    Raises:
        FormatError: the parts do not make a proof.
    """

    index: int
    """Number of the leaf, from 0."""
    hashes: tuple[bytes, ...]
    """The inclusion proof of RFC 6962 §2.1.1: 32 bytes each, the sibling of the leaf first."""
    checkpoint: bytes
    """The signed note, with one signature."""
    claim: Checkpoint = field(init=False, repr=False, compare=False)
    """The checkpoint in it, whose signature is not checked."""

    def __post_init__(self) -> None:
        if type(self.index) is not int or not 0 <= self.index < MAX_SIZE:
            raise FormatError("not the number of a leaf", expected=f"below {MAX_SIZE}", found=ascii(self.index))
        if len(self.hashes) > MAX_HASHES or not all(type(each) is bytes and len(each) == 32 for each in self.hashes):
            raise FormatError("not the hashes of a proof", expected=f"at most {MAX_HASHES} of 32 bytes each")
        if len(self.checkpoint) > MAX_PROOF - _MAX_BEFORE:
            raise FormatError(
                "a checkpoint is too long",
                expected=f"at most {MAX_PROOF - _MAX_BEFORE} bytes",
                found=len(self.checkpoint),
            )
        claim = Checkpoint.parse(self.checkpoint)
        signers = signers_of(self.checkpoint)
        if signers != [key_name_of(claim.origin)]:
            raise FormatError(
                "the checkpoint of a proof has one signature, that of the log's own key",
                expected=key_name_of(claim.origin),
                found=ascii(signers)[:200],
            )
        object.__setattr__(self, "claim", claim)

    @classmethod
    def decode(cls, text: bytes) -> TlogProof:
        """Read a proof. Neither its signature nor its hashes are checked: `verify` does that.

        Raises:
            FormatError: it is not a proof in its one spelling.
        """
        if len(text) > MAX_PROOF:
            raise FormatError("a proof is too long", expected=f"at most {MAX_PROOF} bytes", found=len(text))
        beginning, gap, checkpoint = bytes(text).partition(b"\n\n")
        if not gap or not beginning.startswith(_HEADER):
            raise FormatError("not a tlog-proof", expected=_HEADER.decode().strip(), found=ascii(beginning[:60]))
        numbered, *hashes = beginning[len(_HEADER) :].split(b"\n")
        number = _INDEX.fullmatch(numbered)
        if number is None:
            raise FormatError("a proof without the number of its leaf", expected="index N", found=ascii(numbered[:60]))
        if len(hashes) > MAX_HASHES or not all(map(_HASH.fullmatch, hashes)):
            raise FormatError("not the hashes of a proof", expected=f"at most {MAX_HASHES} lines of base64")
        proof = cls(int(number[1]), tuple(map(b64decode, hashes)), checkpoint)
        if proof.encode() != text:
            raise FormatError("a proof is not in its one spelling", found=ascii(beginning[:200]))
        return proof

    def encode(self) -> bytes:
        """Return the text."""
        lines = b"".join(b64encode(each) + b"\n" for each in self.hashes)
        return b"%bindex %d\n%b\n%b" % (_HEADER, self.index, lines, self.checkpoint)

    def check_leaf(self, leaf: bytes) -> None:
        """Check that the leaf with this hash has this number in the tree of the checkpoint.

        Raises:
            VerificationError: it has not.
        """
        merkle.verify_inclusion(leaf, self.index, self.claim.size, self.hashes, self.claim.root)

    def open(self, key: VerifierKey) -> Checkpoint:
        """Return the checkpoint after checking that `key` signed it.

        Raises:
            VerificationError: it did not.
        """
        return Checkpoint.open(self.checkpoint, key)
