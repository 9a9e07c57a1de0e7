"""Read and write key changes: the last checkpoint of a log, which names the next key and is signed by both keys.

A checkpoint as in `checkpoint.py`, with one more line after the root:

    ipfs-logs/6ac6…/audit/1b0e44d2             origin: the log's name
    1234                                       size: all batches of the log
    Nf2sDKlB4w…=                               base64 of the root of its tree
    key-change <old key> <new key> 2026-01-02T03:04:05.000000Z

    — ipfs-logs/6ac6… yvXr5p2u…=               signature of the old key
    — ipfs-logs/93c1… cqP0ZtYt…=               signature of the new key

Both keys are verifier keys, so the note needs no other file. The old key says which key follows it; the new key says
which batches came before it. Tools that do not know the line ignore it, as C2SP tlog-checkpoint demands, and verify the
note with either key. If the key is changed again before another batch is sealed, the second note has the same origin,
size and root, and the next two keys.

A log that begins after a change has the notes as evidence. In a home, the file `key-changes` beside the batches of a
log has them until then, one after the other, with an empty line between two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ipfs_log_handlers.errors import FormatError
from ipfs_log_handlers.format.checkpoint import Checkpoint, SecretKey, VerifierKey, key_name_of
from ipfs_log_handlers.format.moment import micros, rfc3339

__all__ = ["MAX_BYTES", "MAX_CHANGES", "KeyChange", "check_order", "is_key_change", "join", "leads_to", "sign", "split"]

MAX_CHANGES = 64
"""Changes of the key between two batches of a subsystem."""
MAX_BYTES = MAX_CHANGES * 2048
"""Bytes of a `key-changes` file; a longer one is not read."""
_WORD = "key-change"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChange:
    """One change of the key, as both keys have signed it for one log."""

    checkpoint: Checkpoint
    """The end of the log; its one extension is the line about the keys."""
    old: VerifierKey
    """The key before the change."""
    new: VerifierKey
    """The key after it."""
    changed: int
    """Time of the change by the clock of the machine, µs since 1970."""
    note: bytes
    """The signed note."""

    @classmethod
    def decode(cls, note: bytes) -> KeyChange:
        """Read a note and check both signatures, and the names of both keys.

        Raises:
            FormatError: it is not a key change in its one spelling.
            VerificationError: one of the two keys has not signed it.
        """
        checkpoint = Checkpoint.parse(note)
        words = checkpoint.extensions[0].split(" ") if len(checkpoint.extensions) == 1 else []
        if len(words) != 4 or words[0] != _WORD:
            raise FormatError("not a key change", expected=f"{_WORD} <old key> <new key> <time>", found=ascii(words))
        old, new, changed = VerifierKey.parse(words[1]), VerifierKey.parse(words[2]), micros(words[3])
        if changed is None or changed < 0 or rfc3339(changed) != words[3]:
            raise FormatError("not the time of a key change", expected="RFC 3339 with µs and Z", found=ascii(words[3]))
        for key in (old, new):
            if key.name != key.own_name:
                raise FormatError("a key has the name of another", expected=key.own_name, found=ascii(key.name))
        if old.name == new.name:
            raise FormatError("a key change names one key twice", found=old.name)
        key_name_of(checkpoint.origin)
        for key in (old, new):
            Checkpoint.open(note, key)
        if checkpoint.size < 1 or note.count(b"\n") != checkpoint.body().count(b"\n") + 3:
            raise FormatError("a key change has two signatures, and is about at least one batch")
        return cls(checkpoint=checkpoint, old=old, new=new, changed=changed, note=note)

    def is_about(self, end: Checkpoint | None) -> bool:
        """Return whether the change was signed for exactly this end of a log."""
        own = self.checkpoint
        return end is not None and (own.origin, own.size, own.root) == (end.origin, end.size, end.root)


def sign(end: Checkpoint, old: SecretKey, new: SecretKey, changed: int) -> KeyChange:
    """Sign a change of the key.

    Args:
        end: the end of the log.
        old: the key before the change.
        new: the key after it.
        changed: time of the change, µs since 1970.
    """
    line = f"{_WORD} {old.verifier.text} {new.verifier.text} {rfc3339(changed)}"
    return KeyChange.decode(Checkpoint(end.origin, end.size, end.root, (line,)).signed(old, new))


def is_key_change(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint says that it is a key change; `KeyChange.decode` checks it."""
    return any(line.split(" ")[0] == _WORD for line in checkpoint.extensions)


def join(changes: Iterable[KeyChange]) -> bytes:
    """Return the content of a `key-changes` file."""
    return b"\n".join(change.note for change in changes)


def split(data: bytes) -> list[KeyChange]:
    """Read the content of a `key-changes` file: changes for one end of one log, each from the key before it.

    Raises:
        FormatError: it is not such a file.
        VerificationError: a key has not signed a change.
    """
    texts = data.split(b"\n\n")
    if len(texts) % 2 or len(data) > MAX_BYTES:
        raise FormatError("not a list of key changes", found=ascii(data[:100]))
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    notes = [body + b"\n\n" + lines + b"\n" for body, lines in pairs[:-1]]
    changes = [KeyChange.decode(note) for note in [*notes, b"\n\n".join(pairs[-1])]]
    check_order(changes)
    return changes


def check_order(changes: Sequence[KeyChange]) -> None:
    """Check that changes are about one end of one log, and lead from its key to the last one without a gap.

    Raises:
        FormatError: they do not.
    """
    if not changes or len(changes) > MAX_CHANGES:
        raise FormatError("too many key changes, or none", expected=f"1 to {MAX_CHANGES}", found=len(changes))
    end = changes[0].checkpoint
    names = [key_name_of(end.origin), *(change.new.name for change in changes)]
    if names[:-1] != [change.old.name for change in changes] or not all(each.is_about(end) for each in changes):
        raise FormatError("key changes that do not follow one another", found=ascii(names))


def leads_to(changes: Sequence[KeyChange], key_name: str) -> list[KeyChange]:
    """Return the changes up to the last one that ends at this key; empty if none does."""
    ends = [at for at, change in enumerate(changes) if change.new.name == key_name]
    return list(changes[: ends[-1] + 1]) if ends else []
