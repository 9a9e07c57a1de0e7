"""Read and write checkpoints: a log's name, its number of batches and the root of their tree, signed.

A text in the form of C2SP tlog-checkpoint, in a note of C2SP signed-note, so that tools which are not ours (Go's
`sumdb/note`, witnesses) read it:

    ipfs-logs/6ac6…/audit/1b0e44d2             origin: the log's name
    1234                                       size: batches in the log
    Nf2sDKlB4w…=                               base64 of the RFC 6962 root over their manifests' CIDs
                                               an empty line ends the text that is signed
    — ipfs-logs/6ac6… yvXr5p2u…=               name of the key, base64(key ID, signature)

Here are also the keys, Ed25519 (type 0x01), in the text forms that Go's tools write. A key has the name
`ipfs-logs/<16 hex of SHA-256(public key)>`, and a log the name `<key>/<subsystem>/<8 hex>`.

Each text has one spelling: numbers without a sign or leading zeros, base64 without stray bits. A text that was read is
encoded again and compared, because Python's own parsers accept more spellings.

Specs: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.merkle import EMPTY_ROOT

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = [
    "MAX_NOTE",
    "Checkpoint",
    "SecretKey",
    "VerifierKey",
    "key_name_of",
    "log_name",
    "note_text",
    "only_signature",
    "open_note",
    "sign_note",
    "signers_of",
    "subsystem_of",
]

MAX_NOTE = 64 * 1024
"""Bytes of a signed note; a longer one is not read."""
MAX_SIGNATURES = 16
"""Signature lines of a note; one with more is not read."""
MAX_SIZE = 2**63 - 1
"""Batches of a log: other languages read the number as a signed integer of 64 bits."""

_ED25519 = b"\x01"
"""The byte that stands for Ed25519 in C2SP signed-note."""
_LOG = re.compile(r"(ipfs-logs/[0-9a-f]{16})/([a-z0-9_]{1,64})/[0-9a-f]{8}")
_KEY_TEXT = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})")  # base64 of type and 32 bytes, no padding
_SIZE = re.compile(rb"0|[1-9][0-9]{0,18}")  # no sign, no leading zeros
_SIGNATURE = re.compile("— ([^ +]+) ([A-Za-z0-9+/]+={0,2})")
_NOT_TEXT = re.compile("[\x00-\x09\x0b-\x1f\ud800-\udfff]")  # control characters but LF, and lone surrogates
_PRIVATE = "PRIVATE+KEY+"


# -- names


def log_name(key_name: str, subsystem: str, draw: str) -> str:
    """Return the name of the log of `subsystem` under this key; `draw` are 8 hex digits drawn when the log starts."""
    log = f"{key_name}/{subsystem}/{draw}"
    _split_log(log)
    return log


def key_name_of(log: str) -> str:
    """Return the name of the key that signs this log: its first two parts."""
    return _split_log(log)[0]


def subsystem_of(log: str) -> str:
    """Return the subsystem of this log."""
    return _split_log(log)[1]


def _split_log(log: str) -> tuple[str, str]:
    match = _LOG.fullmatch(log) if isinstance(log, str) else None
    if match is None:
        raise FormatError("not the name of a log", expected="ipfs-logs/<16 hex>/<subsystem>/<8 hex>", found=ascii(log))
    return match[1], match[2]


# -- keys


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """The public half of a key; a reader needs it to trust a log."""

    name: str
    """Name of the key; each signature line contains it."""
    public: bytes
    """The 32 bytes of the Ed25519 public key."""

    def __post_init__(self) -> None:
        _check_key(self.name, self.public)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Read `name+keyid+base64`, one line as `ipfs-logs keys show` prints it."""
        name, key_id, public = _parse_key(text, "a verifier key")
        key = cls(name, public)
        if key.key_id != key_id:
            raise FormatError(
                "a verifier key is damaged: its ID is not that of its name and bytes",
                expected=key.key_id.hex(),
                found=key_id.hex(),
                hint="copy it again from where it was printed",
            )
        return key

    @property
    def text(self) -> str:
        """The key as text, as `parse` reads it."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(_ED25519 + self.public)}"

    @property
    def own_name(self) -> str:
        """The name that a key of a home with this public half has."""
        return f"ipfs-logs/{sha256(self.public).hexdigest()[:16]}"

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that name this key on a signature line."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def verify(self, message: bytes, signature: bytes) -> None:
        """Raise `VerificationError` if `signature` is not this key's signature of `message`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except (InvalidSignature, ValueError) as error:
            raise VerificationError(
                "the signature is not this key's signature of this text",
                where=self.name,
                hint="the text was changed, or another key signed it",
            ) from error


@dataclass(frozen=True, slots=True)
class SecretKey:
    """The secret half of a key; anyone who has it can sign the logs of a home."""

    name: str
    """Name of the key."""
    seed: bytes = field(repr=False)
    """The 32 secret bytes."""
    verifier: VerifierKey = field(init=False, repr=False, compare=False)
    """The public half."""
    _private: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        _check_key(self.name, self.seed)
        private = Ed25519PrivateKey.from_private_bytes(self.seed)
        object.__setattr__(self, "_private", private)
        object.__setattr__(self, "verifier", VerifierKey(self.name, private.public_key().public_bytes_raw()))

    @classmethod
    def generate(cls, seed: bytes) -> SecretKey:
        """Make the key of these 32 random bytes, with the name that follows from its public half."""
        return cls(cls("unnamed", seed).verifier.own_name, seed)

    @classmethod
    def parse(cls, text: str) -> SecretKey:
        """Read `PRIVATE+KEY+name+keyid+base64`, the form that Go's `sumdb/note` writes."""
        if not isinstance(text, str) or not text.startswith(_PRIVATE):
            raise FormatError("not a secret key", expected=f"{_PRIVATE}name+keyid+base64")
        name, key_id, seed = _parse_key(text.removeprefix(_PRIVATE), "a secret key")
        key = cls(name, seed)
        if key.verifier.key_id != key_id:
            raise FormatError(
                "a secret key is damaged: its ID is not that of its name and bytes",
                expected=key.verifier.key_id.hex(),
                found=key_id.hex(),
                hint="restore the key file from a copy, or remove it: a new key starts new logs",
            )
        return key

    @property
    def text(self) -> str:
        """The key as text, as `parse` reads it. Secret."""
        return f"{_PRIVATE}{self.name}+{self.verifier.key_id.hex()}+{_base64(_ED25519 + self.seed)}"

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return self._private.sign(message)


def _check_key(name: str, key: bytes) -> None:
    if not _is_key_name(name):
        raise FormatError("not a name for a key", expected="text without spaces and +", found=ascii(name))
    if not isinstance(key, bytes) or len(key) != 32:
        raise FormatError("an Ed25519 key has 32 bytes", expected=32, found=len(key))


def _is_key_name(name: str) -> bool:
    """Return whether a signature line can contain a name, and the name has only one encoding."""
    return (
        isinstance(name, str)
        and name != ""
        and "+" not in name
        and not any(char.isspace() for char in name)
        and not _NOT_TEXT.search(name)
    )


def _parse_key(text: str, what: str) -> tuple[str, bytes, bytes]:
    """Split the text of a key into name, key ID and 32 bytes. No error shows the text, which may be a secret."""
    match = _KEY_TEXT.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise FormatError(f"not {what}", expected="name+keyid+base64, the key ID in 8 lower-case hex digits")
    data = b64decode(match[3])
    if data[:1] != _ED25519:
        raise FormatError(f"{what} of another type than Ed25519", expected="01 (Ed25519)", found=data[:1].hex())
    return match[1], bytes.fromhex(match[2]), data[1:]


# -- checkpoints


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The size and the root of a log at one moment. This value holds no signature; `sign` adds one."""

    origin: str
    """Name of the log."""
    size: int
    """Batches in the log."""
    root: bytes
    """RFC 6962 root over the CIDs of their manifests."""
    extensions: tuple[str, ...] = ()
    """Further signed lines of other programs; ours writes none and ignores them."""

    def __post_init__(self) -> None:
        for line in (self.origin, *self.extensions):
            if not isinstance(line, str) or not line or _NOT_TEXT.search(line) or "\n" in line:
                raise FormatError("a line of a checkpoint is empty, or is not one line of text", found=ascii(line))
        if type(self.size) is not int or not 0 <= self.size <= MAX_SIZE:
            raise FormatError("not the size of a log", expected="0 to 2^63 - 1", found=self.size)
        if not isinstance(self.root, bytes) or len(self.root) != 32:
            raise FormatError("a root has 32 bytes", found=ascii(self.root))
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise FormatError("the root of an empty log is fixed", expected=EMPTY_ROOT.hex(), found=self.root.hex())

    def body(self) -> bytes:
        """Return the text that is signed."""
        return "".join(f"{line}\n" for line in self._lines()).encode()

    def signed(self, *keys: SecretKey) -> bytes:
        """Return the note: the text and a signature line of each key, in the order of the keys."""
        return sign_note(self.body(), *keys)

    @classmethod
    def open(cls, note: bytes, key: VerifierKey) -> Checkpoint:
        """Read a note that `key` signed. Lines of up to 15 other signers are skipped.

        Raises:
            FormatError: it is not a note, or not a checkpoint.
            VerificationError: `key` did not sign it, or its signature is wrong.
        """
        return cls._parse_body(open_note(note, key))

    @classmethod
    def parse(cls, note: bytes) -> Checkpoint:
        """Read a note without checking its signature, only to find out which log it claims to be of."""
        return cls._parse_body(_split_note(note)[0])

    @classmethod
    def _parse_body(cls, body: bytes) -> Checkpoint:
        lines = body.split(b"\n")[:-1]
        if len(lines) < 3 or not _SIZE.fullmatch(lines[1]):
            raise FormatError("not a checkpoint", expected="lines with origin, size and root", found=ascii(body[:200]))
        root = _unbase64(lines[2].decode())
        extensions = tuple(line.decode() for line in lines[3:])
        checkpoint = cls(lines[0].decode(), int(lines[1]), root, extensions)
        if checkpoint.body() != body:
            raise FormatError("a checkpoint is not in its one canonical spelling", found=ascii(body[:200]))
        return checkpoint

    def _lines(self) -> tuple[str, ...]:
        return (self.origin, str(self.size), _base64(self.root), *self.extensions)


# -- notes


def sign_note(text: bytes, *keys: SecretKey) -> bytes:
    """Return the note of a text that ends with LF: the text and a signature line of each key, in their order."""
    signatures = [(key.name, _base64(key.verifier.key_id + key.sign(text))) for key in keys]
    return text + b"\n" + "".join(f"— {name} {signature}\n" for name, signature in signatures).encode()


def note_text(note: bytes) -> bytes:
    """Return the text of a note without checking its signature, only to find out what it claims.

    Raises:
        FormatError: it is not a note.
    """
    return _split_note(note)[0]


def open_note(note: bytes, key: VerifierKey) -> bytes:
    """Return the text of a note after checking that `key` signed it.

    Raises:
        FormatError: it is not a note.
        VerificationError: the note has no signature of `key`, or it is wrong.
    """
    body, signatures = _split_note(note)
    own = [blob[4:] for name, blob in signatures if name == key.name and blob[:4] == key.key_id]
    if not own:
        raise VerificationError(
            "the note is not signed by the expected key",
            expected=f"{key.name}+{key.key_id.hex()}",
            found=ascii(", ".join(f"{name}+{blob[:4].hex()}" for name, blob in signatures)),
            hint="compare the verifier key with the one that `ipfs-logs keys show` prints on the machine that logs",
        )
    for signature in own:
        key.verify(body, signature)
    return body


def signers_of(note: bytes) -> list[str]:
    """Name the signers of a note, in the order of its signature lines; no signature is checked.

    Raises:
        FormatError: it is not a note.
    """
    return [name for name, _ in _split_note(note)[1]]


def only_signature(note: bytes, key_name: str) -> bytes:
    """Return a note without the signature lines of all but one signer; no signature is checked.

    Raises:
        FormatError: it is not a note, or it does not have exactly one line of this signer.
    """
    body, signatures = _split_note(note)
    own = [blob for name, blob in signatures if name == key_name]
    if len(own) != 1:
        raise FormatError("not one signature of the log's key", expected=key_name, found=f"{len(own)} of them")
    return body + f"\n— {key_name} {_base64(own[0])}\n".encode()


def _split_note(note: bytes) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Split a note into the text that is signed and its signatures: (name, key ID and signature)."""
    if len(note) > MAX_NOTE:
        raise FormatError("a note is too long", expected=f"at most {MAX_NOTE} bytes", found=len(note))
    try:
        text = bytes(note).decode()
    except UnicodeDecodeError as error:
        raise FormatError("a note is not UTF-8", where=f"byte {error.start}") from error
    if _NOT_TEXT.search(text):
        raise FormatError("a note has control characters in it", found=ascii(text[:200]))
    body, gap, signatures = text.rpartition("\n\n")
    lines = signatures.split("\n")
    if not gap or lines.pop() or not lines:
        raise FormatError("not a signed note", expected="text, an empty line, signatures", found=ascii(text[:200]))
    if len(lines) > MAX_SIGNATURES:
        raise FormatError("a note has too many signatures", expected=MAX_SIGNATURES, found=len(lines))
    return f"{body}\n".encode(), [_parse_signature(line) for line in lines]


def _parse_signature(line: str) -> tuple[str, bytes]:
    match = _SIGNATURE.fullmatch(line)
    if match is None or not _is_key_name(match[1]):
        raise FormatError("not a signature line", expected="— name base64", found=ascii(line[:200]))
    blob = _unbase64(match[2])
    if len(blob) < 5:
        raise FormatError("a signature is too short", expected="4 bytes of key ID and more", found=len(blob))
    return match[1], blob


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")


def _unbase64(text: str) -> bytes:
    """Decode base64 in its one spelling."""
    try:
        data = b64decode(text, validate=True)
    except (Base64Error, ValueError) as error:
        raise FormatError("not base64", found=ascii(text[:100])) from error
    if _base64(data) != text:
        raise FormatError("base64 with stray bits or padding", expected=_base64(data), found=ascii(text[:100]))
    return data
