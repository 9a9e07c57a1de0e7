"""Encrypt the payload of a batch, and what its manifest would tell of the records, to the key of a period; open them.

Both are files of age v1 with one X25519 recipient (https://age-encryption.org/v1), so the tool `age` opens them, too:

    payload     salt frame and zstd frames as in `payload`, padding frame; of an archive: see `encrypted_archive`
    `hidden`    50 2A 4D 18, u32 LE length, DAG-CBOR of the hidden claims, padding frame

    padding     51 2A 4D 18, u32 LE length, zeros: a zstd skippable frame, so that the bytes before age is applied are
                as many as Padmé allows (K. Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
                Communication with PURBs", 2019): their number tells next to nothing of the records

In an encrypted manifest, `first`, `last` and `sealed` are rounded to minutes and `raw` by Padmé, `meta` and `stats` are
empty, and `ext` has `ipfs-logs/encryption`: the name of the key (`kid`), its recipient, and the hidden claims, which
are the true values. They name the batch and its payload, so that neither can be exchanged for that of another batch.
Where records with each value of a field have a key of their own, one stretch of the log becomes several batches, which
are sealed in one step: a *group*. `group` says which of how many a batch is.
The tree over the records has its root in clear: its salt is in the payload.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Final

from ipfs_log_handlers.errors import (
    CiphertextError,
    ConfigurationError,
    FormatError,
    ReplayedKeyError,
    SwappedCiphertextError,
    WrongIdentityError,
)
from ipfs_log_handlers.format import dagcbor, payload
from ipfs_log_handlers.format.checkpoint import subsystem_of
from ipfs_log_handlers.format.encoding import Encoding, encoding_of
from ipfs_log_handlers.format.kid import Kid, bounds
from ipfs_log_handlers.format.manifest import MAX_TIME, Manifest

if TYPE_CHECKING:
    from types import ModuleType

__all__ = [
    "EXPOSABLE",
    "EXTENSION",
    "MAX_CLEAR_BLOCK",
    "MAX_GROUP",
    "MAX_GROWTH",
    "MINUTE",
    "Envelope",
    "Revealed",
    "age_library",
    "damage",
    "decrypt",
    "encrypt",
    "group_of",
    "hide",
    "is_encrypted",
    "kid_in",
    "padding",
    "padme",
    "parsed_identity",
    "parsed_recipient",
    "recipient_of",
    "reveal",
]

EXTENSION: Final = "ipfs-logs/encryption"
"""The key in `ext`."""
EXPOSABLE: Final = ("levels", "loggers", "events")
"""The members of the zone map that may stay in clear."""
MINUTE: Final = 60_000_000
"""µs of a minute."""
MAX_CLEAR_BLOCK: Final = 14 * 1024
"""Bytes that a manifest may have before it is encrypted, so that it fits into its block afterwards."""
MAX_GROWTH: Final = 20 * 1024
"""Bytes that padding and age add to at most 1 MiB: 16 KiB of Padmé, 16 for each 64 KiB, some 400 of header at most."""

_PADDING: Final = (0x184D2A51).to_bytes(4, "little")
"""The first bytes of a padding frame."""
_HIDDEN: Final = (0x184D2A50).to_bytes(4, "little")
"""The first bytes of the frame with the hidden claims."""
_FRAME_HEAD: Final = 8
"""Bytes of magic number and length of a skippable frame."""
_MAX_FRAME: Final = 1 << 31
"""Bytes of zeros in one padding frame."""
_ZEROS: Final = 1 << 20
"""Bytes of zeros that are written at a time."""
_MAX_CIPHERTEXT: Final = 320 << 20
"""Bytes of an encrypted payload that is opened: `payload.MAX_RAW_BYTES` that cannot be compressed, and padding."""
_ENVELOPE: Final = ("kid", "recipient", "hidden")
_GROUP: Final = "group"
"""The key of the envelope that only the batches of a group have."""
MAX_GROUP: Final = 1024
"""Largest number of batches of a group."""
_CLAIMS: Final = ("first", "last", "sealed", "raw", "meta", "stats")
"""The keys of a manifest that are hidden."""
_PLACE: Final = ("log", "index", "kid", "payload")
"""The keys that bind the hidden claims to their manifest."""


# -- sizes


def padme(size: int) -> int:
    """Return the smallest allowed number of bytes that is at least `size`: 12 % more at most, and 2 % at 1 MiB."""
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    free = exponent - exponent.bit_length()
    mask = (1 << free) - 1
    return (size + mask) & ~mask


def _padding(size: int) -> bytes:
    """Return the frame after which `size` bytes are as many as Padmé allows."""
    return b"".join(padding(size))


def padding(size: int) -> Iterator[bytes]:
    """Yield the frames after which `size` bytes are as many as Padmé allows, in pieces: one frame below 128 GiB."""
    left = padme(size + _FRAME_HEAD) - size
    while left:
        length = min(left - _FRAME_HEAD, _MAX_FRAME)
        left -= _FRAME_HEAD + length
        if 0 < left < _FRAME_HEAD:
            left, length = left + _FRAME_HEAD, length - _FRAME_HEAD
        yield _PADDING + length.to_bytes(4, "little")
        for at in range(0, length, _ZEROS):
            yield bytes(min(_ZEROS, length - at))


# -- age


def age_library() -> ModuleType:
    """Import the library for age, where it is first needed.

    Raises:
        ConfigurationError: it is not installed; the error has the command that installs it.
    """
    try:
        import pyrage
    except ImportError as error:
        raise ConfigurationError(
            "encryption needs pyrage, which is not installed", hint="Run: pip install 'ipfs_log_handlers[encrypt]'"
        ) from error
    module: ModuleType = pyrage
    return module


def recipient_of(identity: str) -> str:
    """Return the public key, `age1…`, of an identity, `AGE-SECRET-KEY-1…`.

    Raises:
        FormatError: it is not an identity.
        ConfigurationError: the library for age is not installed.
    """
    return str(parsed_identity(identity).to_public())


def encrypt(data: bytes, recipient: str) -> bytes:
    """Return an age file over some zstd frames and a padding frame.

    Args:
        data: the frames.
        recipient: the public key of the period, `age1…`.

    Raises:
        FormatError: it is not a public key.
        ConfigurationError: the library for age is not installed.
    """
    encrypted: bytes = age_library().encrypt(data + _padding(len(data)), [parsed_recipient(recipient)])
    return encrypted


def parsed_recipient(text: str) -> Any:
    """Return a public key, `age1…`, as the library for age has it; raises as `encrypt`."""
    pyrage = age_library()
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise FormatError("not a recipient of age", expected="age1…", found=ascii(text)[:80]) from error


def decrypt(data: bytes, identity: str, *, where: str = "") -> bytes:
    """Return the frames in an age file, with the padding frame.

    Args:
        data: the file.
        identity: the secret key of the period, `AGE-SECRET-KEY-1…`, which must be the right one.
        where: name of the place, for errors.

    Raises:
        CiphertextError: the file is damaged, or encrypted to another key.
        ConfigurationError: the library for age is not installed.
    """
    pyrage = age_library()
    try:
        decrypted: bytes = pyrage.decrypt(data, [parsed_identity(identity)])
    except pyrage.DecryptError as error:
        raise damage(error, where) from error
    return decrypted


def damage(error: Exception, where: str) -> CiphertextError:
    """Return the error for bytes that the library for age did not open.

    Args:
        error: its error.
        where: name of the place.
    """
    text = str(error)
    header = "No matching keys" in text or "eader" in text or "format" in text
    return CiphertextError(
        "the age header is damaged, or of another key" if header else "the encrypted bytes are damaged",
        where=where or None,
        found=text.partition("\n")[0],
    )


def parsed_identity(text: str) -> Any:
    """Return an identity, `AGE-SECRET-KEY-1…`, as the library for age has it; raises as `recipient_of`."""
    pyrage = age_library()
    try:
        return pyrage.x25519.Identity.from_str(text.strip())
    except pyrage.IdentityError as error:
        raise FormatError("not an identity of age", expected="AGE-SECRET-KEY-1…", found="another text") from error


# -- manifests


def is_encrypted(manifest: Manifest) -> bool:
    """Return whether the payload of a manifest is encrypted."""
    return encoding_of(manifest.encoding).within is not None


def kid_in(manifest: Manifest) -> str | None:
    """Return the name of the key to which a manifest says that it is encrypted; `None`: to none. It is not checked."""
    value = manifest.ext.get(EXTENSION)
    kid = value.get("kid") if isinstance(value, Mapping) else None
    return kid if isinstance(kid, str) else None


def group_of(manifest: Manifest) -> tuple[int, int] | None:
    """Return which of how many batches of its group a batch is; `None`: it is in no group.

    The batches of a group were sealed in one step, from one stretch of each segment: the records of a writer ascend in
    each batch, and from group to group, but not from one batch of a group to the next.
    """
    value = manifest.ext.get(EXTENSION)
    place = value.get(_GROUP) if isinstance(value, Mapping) else None
    if not isinstance(place, (list, tuple)) or len(place) != 2 or not all(type(number) is int for number in place):
        return None
    number, size = place
    return (number, size) if 1 <= number <= size <= MAX_GROUP and size > 1 and number <= manifest.index + 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The member `ipfs-logs/encryption` of `ext`."""

    kid: Kid
    """The name of the key."""
    recipient: str
    """Its public key, `age1…`."""
    hidden: bytes = field(repr=False)
    """The hidden claims, encrypted."""
    group: tuple[int, int] | None = None
    """Number of the batch in its group, from 1 on, and number of batches of the group; `None`: it is in no group."""

    @classmethod
    def of(cls, manifest: Manifest) -> Envelope:
        """Read the envelope of an encrypted manifest; it is not opened.

        Raises:
            FormatError: there is none, or it is malformed.
            ReplayedKeyError: the key is not that of the subsystem and the time at which the batch was sealed.
        """
        where = _place(manifest)
        value = manifest.ext.get(EXTENSION)
        if not isinstance(value, Mapping) or value.keys() - {_GROUP} != set(_ENVELOPE):
            raise FormatError("an encrypted manifest names its key", expected=", ".join(_ENVELOPE), where=where)
        group = group_of(manifest)
        if _GROUP in value and group is None:
            raise FormatError("not the place in a group", where=where, found=ascii(value[_GROUP])[:80])
        recipient, hidden = value["recipient"], value["hidden"]
        if type(recipient) is not str or not recipient.startswith("age1") or type(hidden) is not bytes:
            raise FormatError("not the key of an encrypted manifest", where=where, found=ascii(recipient)[:80])
        kid = Kid.parse(value["kid"])
        if kid.subsystem != subsystem_of(manifest.log) or not _fits(kid, manifest):
            raise ReplayedKeyError(
                "the batch was sealed in another period than that of its key",
                where=where,
                expected=f"the key of {subsystem_of(manifest.log)} for the time of sealing",
                found=kid.text,
            )
        return cls(kid=kid, recipient=recipient, hidden=hidden, group=group)


def _fits(kid: Kid, manifest: Manifest) -> bool:
    """Return whether a batch may have this key: an archive was encrypted before it was sealed, records meanwhile."""
    if encoding_of(manifest.encoding).has_records:
        return kid.holds(manifest.sealed)
    return bounds(kid.period)[0] <= manifest.sealed


def hide(
    manifest: Manifest,
    kid: Kid,
    recipient: str,
    expose: Collection[str] = (),
    *,
    group: tuple[int, int] | None = None,
) -> Manifest:
    """Encrypt the claims of a manifest that tell something of the records.

    Args:
        manifest: the manifest with the true claims, of a payload that is encrypted already.
        kid: the name of the key.
        recipient: its public key.
        expose: members of the zone map that stay in clear, of `EXPOSABLE`.
        group: the place of the batch in its group, as in `Envelope`.

    Raises:
        FormatError: the payload is not encrypted, or it is not a public key.
        ReplayedKeyError: the key is that of another subsystem or time.
        ConfigurationError: the library for age is not installed.
    """
    if not is_encrypted(manifest):
        raise FormatError("the payload of this manifest is not encrypted", found=manifest.encoding)
    claims = {name: getattr(manifest, name) for name in _CLAIMS}
    place = {"log": manifest.log, "index": manifest.index, "kid": kid.text, "payload": manifest.payload.text}
    content = dagcbor.encode({**place, **claims})
    hidden = encrypt(_HIDDEN + len(content).to_bytes(4, "little") + content, recipient)
    rounded: dict[str, Any] = _rounded(manifest)
    envelope = {"kid": kid.text, "recipient": recipient, "hidden": hidden}
    public = replace(
        manifest,
        **rounded,
        meta={},
        stats={name: manifest.stats[name] for name in EXPOSABLE if name in expose and name in manifest.stats},
        ext={**manifest.ext, EXTENSION: envelope if group is None else {**envelope, _GROUP: list(group)}},
    )
    Envelope.of(public)
    return public


def _rounded(manifest: Manifest) -> dict[str, int]:
    """Return the public values of the hidden numbers."""
    sealed = manifest.sealed - manifest.sealed % MINUTE
    return {
        "first": manifest.first - manifest.first % MINUTE,
        "last": min(MAX_TIME, manifest.last + -manifest.last % MINUTE) if manifest.records else sealed,
        "sealed": sealed,
        "raw": padme(manifest.raw),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed(Manifest):
    """An encrypted manifest with its true claims; its block and CID are those of the encrypted one."""

    public: Manifest = field(repr=False, compare=False)
    """The manifest as it is in its block."""
    identity: str = field(repr=False, compare=False)
    """The secret key of the period."""

    @property
    def payload_encoding(self) -> Encoding:
        """The encoding of the payload after it was decrypted."""
        return encoding_of(encoding_of(self.encoding).within or self.encoding)

    def plain(self, chunks: Iterable[bytes]) -> bytes:
        """Decrypt the payload.

        Args:
            chunks: the encrypted payload in pieces. All of it is held in memory: its end is authenticated last.

        Raises:
            FormatError: it does not have as many bytes as the manifest says, or too many.
            CiphertextError: it is damaged, or encrypted to another key.
            SwappedCiphertextError: it is the payload of another batch.
        """
        where = _place(self)
        if self.size > _MAX_CIPHERTEXT:
            raise FormatError("too many bytes for a batch", expected=f"at most {_MAX_CIPHERTEXT}", where=where)
        data = bytearray()
        for chunk in chunks:
            data += chunk
            if len(data) > self.size:
                break
        if len(data) != self.size:
            raise FormatError("not the bytes that the manifest says", expected=self.size, found=len(data), where=where)
        plain = decrypt(bytes(data), self.identity, where=where)
        place, _ = payload.open_prefix(plain)
        if (place.log, place.index) != (self.log, self.index):
            raise SwappedCiphertextError(
                "the payload of another batch", expected=where, found=f"{place.log} batch {place.index}"
            )
        return plain


def reveal(manifest: Manifest, identity: str) -> Revealed:
    """Open the hidden claims of a manifest.

    Args:
        manifest: an encrypted manifest.
        identity: the secret key of its period, `AGE-SECRET-KEY-1…`.

    Raises:
        WrongIdentityError: the identity is that of another key.
        CiphertextError: the hidden claims are damaged, or differ from those in clear.
        SwappedCiphertextError, ReplayedKeyError: they are those of another batch, or of another key.
        FormatError: the manifest or the hidden claims are malformed.
        ConfigurationError: the library for age is not installed.
    """
    where = _place(manifest)
    envelope = Envelope.of(manifest)
    own = recipient_of(identity)
    if own != envelope.recipient:
        raise WrongIdentityError(
            "the identity is that of another key", where=where, expected=envelope.recipient, found=own
        )
    claims = _hidden_claims(decrypt(envelope.hidden, identity, where=where), where)
    place = {"log": manifest.log, "index": manifest.index, "payload": manifest.payload.text}
    for name, expected in place.items():
        if claims[name] != expected:
            raise SwappedCiphertextError(
                "the hidden claims are those of another batch", where=where, expected=expected, found=claims[name]
            )
    if claims["kid"] != envelope.kid.text:
        raise ReplayedKeyError(
            "the hidden claims name another key", where=where, expected=envelope.kid, found=claims["kid"]
        )
    values = {member.name: getattr(manifest, member.name) for member in fields(Manifest) if member.init}
    values |= {name: claims[name] for name in _CLAIMS}
    revealed = Revealed(**values, public=manifest, identity=identity)
    object.__setattr__(revealed, "_block", manifest.encode())
    expected = {**_rounded(revealed), "meta": {}}
    for name, value in expected.items():
        if getattr(manifest, name) != value:
            raise CiphertextError(
                f"`{name}` differs from the hidden claims",
                where=where,
                expected=value,
                found=getattr(manifest, name),
            )
    for name, value in manifest.stats.items():
        if name not in EXPOSABLE or revealed.stats.get(name) != value:
            raise CiphertextError(f"`stats.{name}` differs from the hidden claims", where=where)
    return revealed


def _hidden_claims(data: bytes, where: str) -> dict[str, Any]:
    length = int.from_bytes(data[4:_FRAME_HEAD], "little")
    content = data[_FRAME_HEAD : _FRAME_HEAD + length]
    if data[:4] != _HIDDEN or len(content) != length or data[_FRAME_HEAD + length :] != _padding(_FRAME_HEAD + length):
        raise CiphertextError("not the hidden claims of a manifest", where=where)
    value = dagcbor.decode(content)
    if not isinstance(value, dict) or value.keys() != {*_PLACE, *_CLAIMS}:
        raise CiphertextError("not the hidden claims of a manifest", where=where)
    return value


def _place(manifest: Manifest) -> str:
    return f"{manifest.log} batch {manifest.index}"
