"""Prove that a log has two histories: two signed checkpoints that no tree can both have, in one file.

The older checkpoint says that the first `older.size` batches have the root `older.root`. The newer checkpoint signs a
tree whose first `older.size` batches have another root, `prefix`, as a consistency proof of RFC 6962 shows. So anybody
who has the verifier key can check the file, without a network, a home, or trust in the one who wrote it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Any, Final

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import MAX_NOTE, Checkpoint, VerifierKey

__all__ = ["MAX_EVIDENCE", "Fork", "ForkEvidence", "check_fork"]

MAX_EVIDENCE: Final = 4 * MAX_NOTE
"""Bytes of an evidence file; a longer one is not read."""
_FORM: Final = "ipfs-logs/fork/v1"
"""The value of `form` in an evidence file."""
_KEYS: Final = ("form", "older", "newer", "prefix", "proof")
"""The keys of an evidence file."""


@dataclass(frozen=True, slots=True)
class Fork:
    """A log that has signed two histories."""

    log: str
    """Name of the log."""
    older: Checkpoint
    """The checkpoint that was seen first."""
    newer: Checkpoint
    """The other checkpoint, of as many batches or more."""

    def as_json(self) -> dict[str, Any]:
        """Return a dict with the keys of `ipfs-logs verify --evidence`."""
        return {
            "log": self.log,
            "result": "forked",
            "older": {"size": self.older.size, "root": self.older.root.hex()},
            "newer": {"size": self.newer.size, "root": self.newer.root.hex()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkEvidence:
    """Two signed notes of one log, and the proof that they exclude each other."""

    older: bytes
    """The note with the older checkpoint."""
    newer: bytes
    """The note with the newer checkpoint."""
    prefix: bytes
    """The root that the newer tree has over the batches of the older one."""
    proof: tuple[bytes, ...]
    """The consistency proof from `prefix` to the newer root."""

    def encode(self) -> bytes:
        """Return the bytes of the file: JSON, UTF-8."""
        value = {
            "form": _FORM,
            "older": self.older.decode(),
            "newer": self.newer.decode(),
            "prefix": b64encode(self.prefix).decode(),
            "proof": [b64encode(each).decode() for each in self.proof],
        }
        return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> ForkEvidence:
        """Read a file; nothing in it is checked yet.

        Raises:
            FormatError: it is not evidence of a fork.
        """
        if len(data) > MAX_EVIDENCE:
            raise FormatError("evidence is too long", expected=f"at most {MAX_EVIDENCE} bytes", found=len(data))
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise FormatError("evidence of a fork is JSON", found=ascii(data[:80])) from error
        if not isinstance(value, dict) or tuple(value) != _KEYS or value["form"] != _FORM:
            raise FormatError("not the evidence of a fork", expected=f"form {_FORM} with {', '.join(_KEYS[1:])}")
        older, newer, prefix, proof = (value[key] for key in _KEYS[1:])
        if not isinstance(proof, list) or not all(isinstance(each, str) for each in (older, newer, prefix, *proof)):
            raise FormatError("the evidence of a fork has a value of a wrong type", expected="texts")
        try:
            evidence = cls(
                older=older.encode(), newer=newer.encode(), prefix=_hash(prefix), proof=tuple(map(_hash, proof))
            )
        except UnicodeEncodeError as error:
            raise FormatError("the evidence of a fork is not text") from error
        if evidence.encode() != data:
            raise FormatError("the evidence of a fork is not in its one spelling")
        return evidence

    def check(self, key: VerifierKey) -> Fork:
        """Check that one key has signed both, and that no tree can have both.

        Raises:
            FormatError: a note is not a checkpoint.
            VerificationError: it does not show a fork.
        """
        older, newer = Checkpoint.open(self.older, key), Checkpoint.open(self.newer, key)
        if older.origin != newer.origin or not older.origin.startswith(f"{key.name}/"):
            raise VerificationError("the two heads are not of one log", expected=older.origin, found=newer.origin)
        if older.size == 0:
            raise VerificationError("an empty log is the beginning of every log: this is no fork")
        merkle.verify_consistency(older.size, self.prefix, newer.size, newer.root, self.proof)
        if self.prefix == older.root:
            raise VerificationError("the newer head continues the older one: this is no fork", found=older.origin)
        return Fork(older.origin, older, newer)


def check_fork(evidence: bytes, key: str) -> Fork:
    """Check the evidence of a fork, without a network and without a home.

    Args:
        evidence: the content of the file that `ipfs-logs verify` wrote.
        key: the verifier key of the log, from a source that you trust.

    Raises:
        FormatError: it is not such a file, or not a key.
        VerificationError: it does not show that this key has signed two histories of a log.
    """
    return ForkEvidence.decode(evidence).check(VerifierKey.parse(key))


def _hash(text: str) -> bytes:
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise FormatError("not base64", found=ascii(text[:80])) from error
    if len(data) != 32:
        raise FormatError("a hash has 32 bytes", found=len(data))
    return data
