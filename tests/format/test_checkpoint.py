from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format import merkle
from ipfs_log_handlers.format.checkpoint import (
    MAX_NOTE,
    Checkpoint,
    SecretKey,
    VerifierKey,
    key_name_of,
    log_name,
    open_note,
    subsystem_of,
)
from tests.support.mutations import assert_canonical, assert_refused, assert_total, cuts, flips, mutants, with_junk
from tests.vectors import load
from tests.vectors.build_chain import KEY, LOG

GO = load("tlog.json")
ROOT = bytes(range(32))
CHECKPOINT = Checkpoint(LOG, 1234, ROOT)
NOTE = CHECKPOINT.signed(KEY)
OTHER = SecretKey.generate(bytes(32))


def signature(key: SecretKey, body: bytes) -> bytes:
    """Write a signature line."""
    return f"— {key.name} {b64encode(key.verifier.key_id + key.sign(body)).decode()}\n".encode()


def note(body: bytes, *keys: SecretKey) -> bytes:
    """Sign any text, a checkpoint or not."""
    return body + b"\n" + b"".join(signature(key, body) for key in keys)


def accepted(open_it: Callable[[bytes], object], data: bytes) -> object | None:
    """Return what the mutant was taken for, if it was."""
    try:
        return open_it(data)
    except (FormatError, VerificationError):
        return None


class TestNames:
    def test_parts(self) -> None:
        """The name of a log is that of its key, its subsystem and 8 hex digits, and comes apart again."""
        name = log_name("ipfs-logs/0123456789abcdef", "fs_journal", "89abcdef")
        assert name == "ipfs-logs/0123456789abcdef/fs_journal/89abcdef"
        assert key_name_of(name) == "ipfs-logs/0123456789abcdef"
        assert subsystem_of(name) == "fs_journal"

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "ipfs-logs/0123456789abcdef",
            "ipfs-logs/0123456789ABCDEF/audit/89abcdef",
            "ipfs-logs/0123456789abcde/audit/89abcdef",
            "ipfs-logs/0123456789abcdef/Audit/89abcdef",
            "ipfs-logs/0123456789abcdef//89abcdef",
            "ipfs-logs/0123456789abcdef/../89abcdef",
            "ipfs-logs/0123456789abcdef/a/b/89abcdef",
            "ipfs-logs/0123456789abcdef/audit/89abcdef\n",
            "ipfs-logs/0123456789abcdef/audit/89abcdef0",
            f"ipfs-logs/0123456789abcdef/{'a' * 65}/89abcdef",
            "ipfs-logs/0123456789abcdef/audit/89abcde٣",
            "other/0123456789abcdef/audit/89abcdef",
            None,
            b"ipfs-logs/0123456789abcdef/audit/89abcdef",
        ],
    )
    def test_refused(self, name: str) -> None:
        """What is not exactly such a name is refused: nothing else can come near a path."""
        with pytest.raises(FormatError, match="not the name of a log"):
            key_name_of(name)

    def test_subsystem_of_a_bad_name(self) -> None:
        """A name that would not come apart is not made."""
        with pytest.raises(FormatError, match="not the name of a log"):
            log_name(KEY.name, "a/b", "01234567")


class TestKeys:
    @pytest.mark.parametrize("vector", GO["keys"], ids=lambda vector: vector["name"])
    def test_go(self, vector: dict[str, str]) -> None:
        """Go's key texts are ours, both ways."""
        secret = SecretKey.parse(vector["secret"])
        assert vector["seed"] == secret.seed.hex()
        assert vector["name"] == secret.name == secret.verifier.name
        assert vector["secret"] == secret.text
        assert vector["verifier"] == secret.verifier.text
        assert secret.verifier == VerifierKey.parse(vector["verifier"])

    def test_name(self) -> None:
        """A key that we make has the name that follows from its public half."""
        assert GO["keys"][0]["secret"] == SecretKey.generate(b"\x01" * 32).text

    def test_secret_is_not_shown(self) -> None:
        """Neither the repr of a key nor the error about a damaged one shows the secret."""
        assert repr(KEY) == f"SecretKey(name={KEY.name!r})"
        with pytest.raises(FormatError) as caught:
            SecretKey.parse(KEY.text[:-3] + "AAA")
        assert KEY.text[-20:-4] not in str(caught.value)

    def test_verify(self) -> None:
        """A key believes its own signatures of the same text, and nothing else."""
        signed = KEY.sign(b"text")
        KEY.verifier.verify(b"text", signed)
        for message, blob in (
            (b"texT", signed),
            (b"text", signed[:-1]),
            (b"text", b""),
            (b"text", OTHER.sign(b"text")),
        ):
            with pytest.raises(VerificationError, match="not this key's signature"):
                KEY.verifier.verify(message, blob)

    @pytest.mark.parametrize(
        ("parse", "text"),
        [(VerifierKey.parse, KEY.verifier.text), (SecretKey.parse, KEY.text)],
        ids=["verifier", "secret"],
    )
    def test_mutants(self, parse: Callable[[str], VerifierKey | SecretKey], text: str) -> None:
        """No cut, no junk and not one bit of a key's text gives another key."""

        def decode(data: bytes) -> object:
            return parse(data.decode(errors="surrogateescape"))

        assert_refused(decode, mutants(text.encode()))

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "name",
            "name+01234567",
            "+".join(["a b", *KEY.verifier.text.split("+", 1)[1:]]),
            KEY.verifier.text.replace("+", "+0", 1),
            KEY.verifier.text.upper(),
            "na\nme+" + KEY.verifier.text.split("+", 1)[1],
            "x+00000000+" + b64encode(b"\x02" + bytes(32)).decode(),
            None,
        ],
    )
    def test_refused(self, text: str) -> None:
        """What is not a key is a FormatError."""
        with pytest.raises(FormatError):
            VerifierKey.parse(text)
        with pytest.raises(FormatError):
            SecretKey.parse(text and "PRIVATE+KEY+" + text)

    @pytest.mark.parametrize(("name", "key"), [("", ROOT), ("a b", ROOT), ("a+b", ROOT), ("\ud800", ROOT), ("a", b"")])
    def test_constructors_check(self, name: str, key: bytes) -> None:
        """A key that cannot be written cannot be made."""
        with pytest.raises(FormatError):
            VerifierKey(name, key)
        with pytest.raises(FormatError):
            SecretKey(name, key)


class TestForeign:
    def test_c2sp_example(self) -> None:
        """The example of the C2SP signed-note page holds, and with one bit flipped it does not."""
        key = VerifierKey.parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
        example = (
            "This is an example message.\n\n— example.com/foo "
            "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
        ).encode()
        assert open_note(example, key) == b"This is an example message.\n"
        assert {None} == {accepted(lambda data: open_note(data, key), mutant) for mutant in flips(example)}

    def test_c2sp_checkpoint(self) -> None:
        """The example of the C2SP tlog-checkpoint page is read."""
        example = (
            "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
            "— example.com/behind-the-sofa "
            "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
        ).encode()
        read = Checkpoint.parse(example)
        assert ("example.com/behind-the-sofa", 20852163) == (read.origin, read.size)

    @pytest.mark.parametrize("vector", GO["notes"], ids=lambda vector: f"{len(vector['signers'])} signers")
    def test_go_notes(self, vector: dict[str, object]) -> None:
        """Each of the signers that Go wrote is found in Go's notes."""
        keys = {key["name"]: VerifierKey.parse(key["verifier"]) for key in GO["keys"]}
        signed, text = str(vector["signed"]).encode(), str(vector["text"]).encode()
        assert text == Checkpoint.parse(signed).body()
        for name, key in keys.items():
            if name in vector["signers"]:  # type: ignore[operator]
                assert text == Checkpoint.open(signed, key).body()
            else:
                with pytest.raises(VerificationError, match="not signed by the expected key"):
                    Checkpoint.open(signed, key)

    def test_go_bytes(self) -> None:
        """What we sign is byte for byte what Go signs: Ed25519 and the form leave no choice."""
        keys = {key["name"]: SecretKey.parse(key["secret"]) for key in GO["keys"]}
        for vector in GO["notes"]:
            text = vector["text"].encode()
            assert vector["signed"].encode() == note(text, *[keys[name] for name in vector["signers"]])
            if len(vector["signers"]) == 1:
                unsigned = Checkpoint.parse(vector["signed"].encode())
                assert vector["signed"].encode() == unsigned.signed(keys[vector["signers"][0]])


class TestCheckpoint:
    def test_golden(self) -> None:
        """The frozen checkpoints are signed by the frozen key, and made again as they are."""
        golden = load("chain.json")
        key, leaves = SecretKey.parse(golden["secret"]), [bytes.fromhex(leaf) for leaf in golden["leaves"]]
        for size, text in enumerate(golden["checkpoints"], start=1):
            root = merkle.root([merkle.leaf_hash(leaf) for leaf in leaves[:size]])
            opened = Checkpoint.open(text.encode(), VerifierKey.parse(golden["verifier"]))
            assert Checkpoint(golden["log"], size, root) == opened
            assert text.encode() == opened.signed(key)

    def test_form(self) -> None:
        """The text has three lines, then comes an empty one, then the signature."""
        lines = NOTE.decode().split("\n")
        assert [LOG, "1234", b64encode(ROOT).decode(), ""] == lines[:4]
        assert lines[4].startswith(f"— {KEY.name} ")
        assert [""] == lines[5:]
        assert len(NOTE) < 256

    def test_mutants(self) -> None:
        """With one bit flipped, cut anywhere or with junk behind it, a checkpoint is not opened."""
        assert Checkpoint.open(NOTE, KEY.verifier) == CHECKPOINT
        for mutant in mutants(NOTE):
            assert accepted(lambda data: Checkpoint.open(data, KEY.verifier), mutant) is None

    def test_mutants_of_another_signer(self) -> None:
        """A bit flipped in the line of a signer that we do not know changes nothing of what is claimed."""
        body = CHECKPOINT.body()
        two = note(body, OTHER, KEY)
        for mutant in flips(two):
            assert accepted(lambda data: Checkpoint.open(data, KEY.verifier), mutant) in (None, CHECKPOINT)

    def test_unsigned_form(self) -> None:
        """Without a key only the form is checked, and what is read has no other form."""
        assert Checkpoint.parse(NOTE) == CHECKPOINT
        assert_total(Checkpoint.parse, mutants(NOTE))
        assert_refused(Checkpoint.parse, cuts(NOTE))
        assert_refused(Checkpoint.parse, with_junk(NOTE))
        tail = NOTE[len(CHECKPOINT.body()) :]
        assert_canonical(lambda body: Checkpoint.parse(body + tail), Checkpoint.body, flips(CHECKPOINT.body()))

    @pytest.mark.parametrize("extra", [0, 1, 14])
    def test_other_signers(self, extra: int) -> None:
        """Up to fifteen other signers are passed over, wherever the line of ours is."""
        others = [SecretKey.generate(bytes([n + 1]) * 32) for n in range(extra)]
        signed = note(CHECKPOINT.body(), *others, KEY, OTHER)
        assert Checkpoint.open(signed, KEY.verifier) == CHECKPOINT

    def test_too_many_signers(self) -> None:
        """Seventeen signature lines are refused before one is looked at."""
        with pytest.raises(FormatError, match="too many"):
            Checkpoint.open(note(CHECKPOINT.body(), *[KEY] * 17), KEY.verifier)

    def test_signed_twice(self) -> None:
        """A line of ours that is wrong is not made good by one that is right."""
        right, wrong = note(CHECKPOINT.body(), KEY), signature(KEY, b"other\n")
        assert Checkpoint.open(right + signature(KEY, CHECKPOINT.body()), KEY.verifier) == CHECKPOINT
        with pytest.raises(VerificationError, match="not this key's signature"):
            Checkpoint.open(right + wrong, KEY.verifier)

    def test_other_key(self) -> None:
        """A checkpoint that another key signed is refused, with both keys in the message."""
        with pytest.raises(VerificationError, match="not signed by the expected key") as caught:
            Checkpoint.open(NOTE, OTHER.verifier)
        assert OTHER.name in str(caught.value.expected)
        assert KEY.name in str(caught.value.found)

    def test_same_name_other_key(self) -> None:
        """The name of a key is not the key: its ID is compared, then the signature."""
        impostor = SecretKey(KEY.name, bytes(32))
        with pytest.raises(VerificationError, match="not signed by the expected key"):
            Checkpoint.open(CHECKPOINT.signed(impostor), KEY.verifier)

    def test_extensions(self) -> None:
        """Lines behind the root are signed like the others, and kept."""
        longer = Checkpoint(LOG, 1234, ROOT, ("next 5 key", "—"))
        assert Checkpoint.open(longer.signed(KEY), KEY.verifier) == longer

    B64 = b64encode(ROOT).decode()

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "\n",
            f"{LOG}\n1234\n",
            f"\n1234\n{B64}\n",
            f"{LOG}\n1234\n{B64}\n\n",
            f"{LOG}\n1234\n{B64}\n\nline\n",
            f"{LOG}\n01234\n{B64}\n",
            f"{LOG}\n+1234\n{B64}\n",
            f"{LOG}\n-1\n{B64}\n",
            f"{LOG}\n1_234\n{B64}\n",
            f"{LOG}\n 1234\n{B64}\n",
            f"{LOG}\n1234 \n{B64}\n",
            f"{LOG}\n١٢\n{B64}\n",
            f"{LOG}\n9223372036854775808\n{B64}\n",
            f"{LOG}\n{'9' * 5000}\n{B64}\n",
            f"{LOG}\n\n{B64}\n",
            f"{LOG}\n0\n{B64}\n",
            f"{LOG}\n1234\n{B64[:-1]}\n",
            f"{LOG}\n1234\n{B64}=\n",
            f"{LOG}\n1234\n{B64[:-2]}9=\n",
            f"{LOG}\n1234\n{B64[:10]} {B64[10:]}\n",
            f"{LOG}\n1234\n{B64.replace('/', '_')}-\n",
            f"{LOG}\n1234\n{b64encode(bytes(31)).decode()}\n",
            f"{LOG}\n1234\n{b64encode(bytes(33)).decode()}\n",
            f"{LOG}\n1234\nä\n",
            f"{LOG}\r\n1234\r\n{B64}\r\n",
            f"{LOG}\n1234\n{B64}\n\tline\n",
        ],
    )
    def test_bad_body(self, body: str) -> None:
        """What is signed but is not a checkpoint is a FormatError, whether the key is asked or not."""
        signed = note(body.encode(), KEY)
        with pytest.raises(FormatError):
            Checkpoint.parse(signed)
        with pytest.raises(FormatError):
            Checkpoint.open(signed, KEY.verifier)

    @pytest.mark.parametrize(
        "lines",
        [
            "",
            "\n",
            "— name\n",
            "— name AAAA\n",
            "— name AAAAAA==",
            "— name AAAAAB==\n",
            "— name AAAAAA==\n\n",
            "— name  AAAAAAA=\n",
            "—  AAAAAAA=\n",
            "— na+me AAAAAAA=\n",
            "— na\u00a0me AAAAAAA=\n",
            "- name AAAAAAA=\n",
            "— name AAAAAAA= \n",
            "— name AAAA-AA=\n",
            "\ufeff— name AAAAAAA=\n",
        ],
    )
    def test_bad_signature_lines(self, lines: str) -> None:
        """A note with a line that is no signature is no note, even when ours is there too."""
        body = CHECKPOINT.body()
        with pytest.raises(FormatError):
            Checkpoint.open(body + b"\n" + lines.encode(), KEY.verifier)
        if lines:
            with pytest.raises((FormatError, VerificationError)):
                Checkpoint.open(body + b"\n" + lines.encode() + signature(KEY, body), KEY.verifier)

    def test_too_long(self) -> None:
        """More than 64 KiB is not read."""
        with pytest.raises(FormatError, match="too long"):
            Checkpoint.parse(bytes(MAX_NOTE + 1))

    @given(
        data=st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode(errors="replace")))
    )
    def test_anything(self, data: bytes) -> None:
        """Whatever the bytes, the answer is a FormatError or a checkpoint."""
        assert_total(
            Checkpoint.parse, [data, data + NOTE, NOTE.replace(LOG.encode(), data), NOTE.replace(b"1234", data)]
        )

    @pytest.mark.parametrize(
        ("origin", "size", "root", "extensions"),
        [
            ("", 1, ROOT, ()),
            ("a\nb", 1, ROOT, ()),
            ("a\x00", 1, ROOT, ()),
            ("\ud800", 1, ROOT, ()),
            (LOG, -1, ROOT, ()),
            (LOG, 2**63, ROOT, ()),
            (LOG, True, ROOT, ()),
            (LOG, 0, ROOT, ()),
            (LOG, 1, ROOT[1:], ()),
            (LOG, 1, "r" * 32, ()),
            (LOG, 1, ROOT, ("",)),
            (LOG, 1, ROOT, ("a\n",)),
        ],
    )
    def test_constructor_checks(self, origin: str, size: int, root: bytes, extensions: tuple[str, ...]) -> None:
        """A checkpoint that could not be read again cannot be made."""
        with pytest.raises(FormatError):
            Checkpoint(origin, size, root, extensions)
