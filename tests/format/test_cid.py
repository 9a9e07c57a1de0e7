"""CIDs: both ways, one spelling each, and what users may type."""

from __future__ import annotations

import contextlib
import copy
import pickle
from hashlib import sha256

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ipfs_log_handlers.errors import FormatError, VerificationError
from ipfs_log_handlers.format.cid import CODECS, DAG_CBOR, DAG_PB, RAW, Cid
from tests.support.mutations import assert_canonical, assert_refused, cuts, flips, with_junk
from tests.support.strategies import blocks, cids, codecs
from tests.vectors import load

TABLE = [
    (RAW, b"", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
    (RAW, b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    (RAW, b"hello world\n", "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4"),
    (DAG_PB, b"\x0a\x02\x08\x01", "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"),
    (DAG_CBOR, b"\xa0", "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"),
]
HELLO = Cid.of(RAW, b"hello world")


def decode_text(data: bytes) -> Cid:
    """Read a CID from the bytes of its text."""
    return Cid.parse(data.decode("latin-1"))


def encode_text(cid: Cid) -> bytes:
    """Write the bytes of its text."""
    return cid.text.encode()


@pytest.mark.parametrize(("codec", "block", "text"), TABLE)
def test_both_ways(codec: int, block: bytes, text: str) -> None:
    """A block has this CID, in text and in bytes, and both are read back."""
    cid = Cid.of(codec, block)

    assert text == cid.text == str(cid) == f"{cid}"
    assert f"Cid({text!r})" == repr(cid)
    assert cid == Cid.parse(text) == Cid.decode(bytes(cid)) == Cid(memoryview(cid))
    assert (codec, sha256(block).digest()) == (cid.codec, cid.digest)


def test_golden() -> None:
    """The CIDs that were kept come out again."""
    for case in load("ipld.json")["cid"]:
        cid = Cid.of(case["codec"], bytes.fromhex(case["block"]))
        assert (case["binary"], case["text"]) == (cid.hex(), cid.text)


@pytest.mark.parametrize("codec", CODECS)
def test_mutated_bytes(codec: int) -> None:
    """Cut, with junk or with any bit flipped, 36 bytes are refused or are another CID, exactly."""
    data = bytes(Cid.of(codec, b"x"))

    assert_refused(Cid.decode, cuts(data))
    assert_refused(Cid.decode, with_junk(data))
    assert_canonical(Cid.decode, bytes, flips(data))


@pytest.mark.parametrize("codec", CODECS)
def test_mutated_text(codec: int) -> None:
    """Cut, with junk (a line end, too) or with any bit flipped, the text is refused or is another CID, exactly."""
    data = encode_text(Cid.of(codec, b"x"))

    assert_refused(decode_text, cuts(data))
    assert_refused(decode_text, with_junk(data))
    assert_canonical(decode_text, encode_text, flips(data))


@pytest.mark.parametrize(
    "text",
    [
        HELLO.text.upper(),
        "B" + HELLO.text[1:].upper(),
        HELLO.text[:-1] + "f",
        HELLO.text + "======",
        " " + HELLO.text[1:],
        "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5١",
        "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH",
        "",
        "b" * 59,
        None,
        41,
        bytes(HELLO),
    ],
)
def test_one_spelling(text: str) -> None:
    """Upper case, stray pad bits, padding, other digits, CIDv0 and what is no text are not the CID of a log."""
    with pytest.raises(FormatError):
        Cid.parse(text)


@pytest.mark.parametrize(
    "head",
    ["01551220", "01701220", "01711220"],
)
def test_known_heads(head: str) -> None:
    """Raw, dag-pb and dag-cbor under sha2-256 are all there is."""
    assert head == Cid(bytes.fromhex(head) + bytes(32))[:4].hex()


@pytest.mark.parametrize(
    "data",
    [
        "12201220" + "00" * 32,  # CIDv0 looks like this
        "02551220" + "00" * 32,  # version 2
        "00551220" + "00" * 32,
        "01511220" + "00" * 32,  # cbor
        "01721220" + "00" * 32,  # libp2p-key
        "01551320" + "00" * 32,  # sha2-512, cut
        "01551e20" + "00" * 32,  # blake3
        "01550020" + "00" * 32,  # identity
        "0155121f" + "00" * 32,
        "01551220" + "00" * 31,
        "0155921220" + "00" * 31,
        "",
    ],
)
def test_other_cids(data: str) -> None:
    """Other versions, codecs, hashes and lengths are refused."""
    with pytest.raises(FormatError, match="not a CID of a log"):
        Cid.decode(bytes.fromhex(data))


def test_of_unknown_codec() -> None:
    """A codec that no reader of a log takes is not given out either."""
    with pytest.raises(FormatError, match="codec"):
        Cid.of(0x0129, b"{}")


@given(codecs, blocks)
def test_verify(codec: int, block: bytes) -> None:
    """A CID verifies its own block and no other, and says where it happened."""
    cid = Cid.of(codec, block)

    cid.verify(block)
    assert cid.matches(block)
    assert not cid.matches(block + b"\0")
    with pytest.raises(VerificationError, match=cid.text):
        cid.verify(block + b"\0")


@given(cids)
def test_round_trips(cid: Cid) -> None:
    """Text, bytes, pickles and copies come back as the same CID."""
    for other in (Cid.parse(cid.text), Cid(bytes(cid)), pickle.loads(pickle.dumps(cid)), copy.deepcopy(cid)):
        assert (cid, Cid, hash(cid)) == (other, type(other), hash(other))


@given(st.data())
def test_a_mistyped_cid_is_another_one_or_a_format_error(data: st.DataObject) -> None:
    """A character more, less, or another one, as people mistype them."""
    text = HELLO.text
    place = data.draw(st.integers(0, len(text)))
    put_in = data.draw(st.text("abcdefghijklmnopqrstuvwxyz234567Qz01m-_ é", max_size=3))
    left_out = data.draw(st.integers(0, 3))
    with contextlib.suppress(FormatError):
        Cid.from_user(text[:place] + put_in + text[place + left_out :])


@given(cids, st.sampled_from(["base16", "base32", "base32upper", "base36", "base58btc", "base64url"]))
def test_from_user_in_any_base(cid: Cid, base: str) -> None:
    """What people paste from other tools is the same CID in whatever base it stands."""
    from multiformats import CID

    text = CID.decode(bytes(cid)).encode(base)

    assert cid == Cid.from_user(text) == Cid.from_user(f" /ipfs/{text}\n") == Cid.from_user(f"ipfs://{text}/")


def test_from_user_v0() -> None:
    """A CIDv0 is the dag-pb CIDv1 of the same block."""
    cid = Cid.from_user("QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH")

    assert cid.codec == DAG_PB
    assert cid.text == "bafybeif7ztnhq65lumvvtr4ekcwd2ifwgm3awq4zfr3srh462rwyinlb4y"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CID"),
        ("bafkreiqeibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqe", "cannot have"),  # a digest that is too long
        ("bafy", "not a CID"),
        ("/ipfs/" + HELLO.text + "/payload", "not a CID"),
        ("hello world", "not a CID"),
        ("k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8", "a log cannot have"),
        ("bafkqabtimvwgy3yk", "a log cannot have"),  # identity
        ("bafkrgqhhyivzstcz3hhswshfjgy6ertgmnqeleynhwt4dlfsthi4hn7zgh4uvlsb5xncykzapi3ocd4lzogukir6ksdy6wzrnz6ohnv4aglcs",
         "a log cannot have"),  # sha2-512
        ("baguqeerasords4njcts6vs7qvdjfcvgnume4hqohf65zsfguprqphs3icwea", "a log cannot have"),  # dag-json
    ],
)  # fmt: skip
def test_from_user_refused(text: str, message: str) -> None:
    """What is no CID, or names no block of a log, is a FormatError with a hint."""
    with pytest.raises(FormatError, match=message) as caught:
        Cid.from_user(text)

    assert caught.value.hint


@given(st.text(max_size=70) | st.from_regex(r"[bzfumkQ][a-zA-Z0-9]{0,70}", fullmatch=True))
@example("bafkreiqeibnoelefnzgwbcacyt4vh52ymxvzbjq7mmqhtcnwarfq4lzegsiqe")
def test_from_user_is_total(text: str) -> None:
    """Whatever is typed, it is a CID or a FormatError."""
    try:
        cid = Cid.from_user(text)
    except FormatError:
        return
    assert cid == Cid.parse(cid.text)
