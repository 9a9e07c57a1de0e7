"""Each detector finds what it is for, in any part of a record, and nothing in the lines of ordinary programs."""

from __future__ import annotations

import base64
import functools
import json
import time
from pathlib import Path
from typing import Any, get_args

import pytest

from ipfs_log_handlers import IPFSProcessor
from ipfs_log_handlers.config.redact import RedactDetector
from ipfs_log_handlers.ingest.event import LoggedEvent
from ipfs_log_handlers.ingest.redaction import HIDDEN, redaction
from ipfs_log_handlers.redaction.detectors import DETECTORS, is_card_number
from tests.support.logging_home import durable, logging_to
from tests.support.realistic_lines import TEMPLATES, lines


def part(value: Any) -> str:
    """Return one part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


JWT = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part({'sub': 'mira'})}.c2lnbmF0dXJl-_9"
JWE = f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..aXY.Y2lwaGVydGV4dA.dGFn"
OTHER_JSON = f"{part({'user': 5})}.ZxY12w.c2lnbmF0dXJl"
KEY_ID = "AKIA" + "IOSFODNN7EXAMPLE"
KEY_SECRET = "wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY"


def found(detector: str, text: str) -> str:
    """Return a text in which what a detector finds is a star."""
    return DETECTORS[detector](text, lambda _: "*")


@pytest.mark.parametrize(
    ("detector", "text", "shown"),
    [
        ("credit_card", "card 4111 1111 1111 1111, exp", "card *, exp"),
        ("credit_card", "card=4111111111111111;", "card=*;"),
        ("credit_card", '"pan":"4111-1111-1111-1111"', '"pan":"*"'),
        ("credit_card", "3782-822463-10005", "*"),
        ("credit_card", "378282246310005 30569309025904", "* *"),
        ("credit_card", "5555555555554444,12/27,123", "*,12/27,123"),
        ("credit_card", "4111 1111 1111 1111 1227", "* 1227"),
        ("credit_card", "6011111111111117 3530111333300000 2223003122003222", "* * *"),
        ("credit_card", "6200000000000000003 6759649826438453", "6200000000000000003 *"),
        ("credit_card", "6205500000000000004", "*"),
        ("credit_card", "4111 1111 1111 1111 4242", "4111 1111 1111 1111 4242"),
        ("credit_card", "4111111111111112", "4111111111111112"),
        ("credit_card", "0.4111111111111111 4111111111111111.5", "0.4111111111111111 4111111111111111.5"),
        ("credit_card", "x4111111111111111 4111111111111111f", "x4111111111111111 4111111111111111f"),
        ("credit_card", "1234-4111-1111-1111-1111", "1234-4111-1111-1111-1111"),
        ("credit_card", "9111111111111111", "9111111111111111"),
        ("iban", "to DE89 3704 0044 0532 0130 00 paid", "to * paid"),
        ("iban", "GB82WEST12345698765432.", "*."),
        ("iban", "gb82-west-1234-5698-7654-32", "*"),
        ("iban", "AT61 1904 3002 3457 3201 paid 2026", "* paid 2026"),
        ("iban", "NO93 8601 1117 947", "*"),
        ("iban", "MT84MALT011000012345MTLCAST001S", "*"),
        ("iban", "DE88370400440532013000", "DE88370400440532013000"),
        ("iban", "DE893704004405320130001", "DE893704004405320130001"),
        ("iban", "XDE89370400440532013000 De89370400440532013000", "XDE89370400440532013000 De89370400440532013000"),
        ("iban", "ZZ89370400440532013000", "ZZ89370400440532013000"),
        ("email", "from mira@example.org: hi", "from *: hi"),
        ("email", "email=mira%40example.org&x", "email=*&x"),
        ("email", "<jürgen.x+y@müller.example>, 'a_b@c.co.uk'", "<*>, '*'"),
        ("email", "a@xn--bcher-kva.example MIRA@EXAMPLE.ORG.", "* *."),
        ("email", "git@github.com:o/r.git", "git@github.com:o/r.git"),
        ("email", "getty@tty1.service icon@2x.png root@server01", "getty@tty1.service icon@2x.png root@server01"),
        ("email", "https://3f2a@o1.sentry.example/1", "https://3f2a@o1.sentry.example/1"),
        ("email", "postgres://u:p@db.example/x lodash@4.17.21", "postgres://u:p@db.example/x lodash@4.17.21"),
        ("jwt", f"t {JWT} end", "t * end"),
        ("jwt", f"Bearer {JWE}", "Bearer *"),
        ("jwt", JWT.rpartition(".")[0], "*"),
        ("jwt", OTHER_JSON, OTHER_JSON),
        ("jwt", "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9"),
        ("aws_key", f"{KEY_ID}:{KEY_SECRET}", "*:*"),
        ("aws_key", f"id={KEY_ID.replace('AKIA', 'ASIA')}", "id=*"),
        ("aws_key", KEY_SECRET, KEY_SECRET),
        ("aws_key", f"x{KEY_ID}", f"x{KEY_ID}"),
        ("bearer_token", "Authorization: Bearer abc", "Authorization: Bearer *"),
        ("bearer_token", "('authorization', 'bearer abc')", "('authorization', 'bearer *')"),
        ("bearer_token", "bearer 3f2a9c7d3f2a9c7d", "bearer *"),
        ("bearer_token", "bearer:s3cr3t-s3cr3t-s3cr3t", "bearer:*"),
        ("bearer_token", "Bearer token expired", "Bearer token expired"),
        ("bearer_token", "the bearer 2026-03-05T12", "the bearer 2026-03-05T12"),
    ],
)
def test_what_has_the_form_is_found_and_nothing_beside_it(detector: str, text: str, shown: str) -> None:
    """The value is replaced, the text around it stays; what fails the check of its form stays."""
    assert shown == found(detector, text)


@pytest.mark.parametrize("detector", sorted(DETECTORS))
def test_nothing_is_found_in_the_lines_of_ordinary_programs(detector: str) -> None:
    """Thousands of lines with long numbers, hashes, ids and `name@host`, none of which is a secret."""
    wrong = [line for line in realistic_lines() if found(detector, line) is not line]
    assert [] == wrong


@functools.cache
def realistic_lines() -> list[str]:
    """Make the lines once for all detectors."""
    return list(lines())


def test_the_realistic_lines_have_what_a_detector_looks_for() -> None:
    """So the test above cannot pass because the lines are tame: each detector looks at many of them closely."""
    text = "\n".join(TEMPLATES)
    for hint in ("@", "earer", "eyJ", "AKIA", "DE{nine}", "4{digits3}, 5{digits3}", "{uuid}", "{ns}"):
        assert hint in text


def test_the_check_digit_of_a_card_counts() -> None:
    """Of the ten numbers that differ in the last digit, one is a card; two digits exchanged are none."""
    assert [1] == [last for last in range(10) if is_card_number(f"411111111111111{last}")]
    assert not is_card_number("5555555555545444")


def test_the_setting_and_the_detectors_have_the_same_names() -> None:
    """`config` knows the names without importing the detectors."""
    assert set(get_args(RedactDetector)) == set(DETECTORS)


EVERYTHING: dict[str, Any] = {
    "text": "mail mira@example.org",
    "deep": {"list": [{"a": b"mira@example.org"}, ("x", "mira@example.org")]},
    "mira@example.org": 1,
    "json": '{"to": "mira@example.org"}',
    "url": "https://h/?q=to%3Dmira%40example.org",
    "error": ValueError("mira@example.org"),
}


@pytest.mark.parametrize("rule", [("@email",), ("@email", "password")])
def test_a_detector_looks_into_every_part_of_a_record(home: Path, rule: tuple[str, ...]) -> None:
    """Message, arguments, fields at any depth, their names, JSON in a text, the traceback: with and without names."""
    with logging_to(home, redact=list(rule)) as logger:
        logger.info("x", extra={"given": EVERYTHING})
        logger.info("to %s and %r", "mira@example.org", {"to": "mira@example.org"})
        logger.info('{"to": "mira@example.org"}')
        try:
            raise ValueError("mira@example.org")
        except ValueError:
            logger.exception("failed", stack_info=True)
    records = durable(home)
    assert 4 == len(records)
    shown = json.dumps(records)
    assert "mira" not in shown.replace("mira@", "")
    assert "example.org" not in shown
    assert f"mail {HIDDEN}" == records[0]["given"]["text"]


def test_a_number_that_is_no_text_is_a_card_too(home: Path) -> None:
    """An integer field is looked at as its digits; other numbers stay numbers."""
    with logging_to(home, redact="@credit_card") as logger:
        logger.info("x", extra={"card": 4111111111111111, "n": 1772700000000000, "small": 5, "yes": True})
    [record] = durable(home)
    assert (HIDDEN, 1772700000000000, 5, True) == (record["card"], record["n"], record["small"], record["yes"])


def test_the_secret_half_of_a_key_is_hidden_by_its_name(home: Path) -> None:
    """It has no form of its own: under the names that AWS gives it, it is hidden like the id."""
    with logging_to(home, redact="@aws_key") as logger:
        logger.info("x", extra={"a": {"AccessKeyId": KEY_ID, "SecretAccessKey": KEY_SECRET, "SessionToken": "x9"}})
        logger.info("aws_secret_access_key=%s", KEY_SECRET)
    first, second = durable(home)
    assert {"AccessKeyId": HIDDEN, "SecretAccessKey": HIDDEN, "SessionToken": HIDDEN} == first["a"]
    assert f"aws_secret_access_key={HIDDEN}" == second["event"]


def test_the_processor_has_detectors_too(home: Path) -> None:
    """In a chain of structlog the record on the disk has no address, and the chain goes on with what it had."""
    processor = IPFSProcessor("logs", home=home, keeper="none", redact=["@email"])
    given = {"event": "from mira@example.org", "to": ["mira@example.org"]}
    assert given == processor(None, "info", dict(given))
    processor.close()
    [record] = durable(home)
    assert (f"from {HIDDEN}", [HIDDEN]) == (record["event"], record["to"])


@pytest.mark.parametrize("detector", sorted(DETECTORS))
@pytest.mark.parametrize(
    "piece", ["4111 ", "4111-", "DE89 3704 ", "a.", "a@", "a@b.", "eyJ", "eyJaaaaaaaaaaa.", "AKIA", "bearer "]
)
def test_the_time_grows_with_the_length_of_a_text(detector: str, piece: str) -> None:
    """A text that nearly has the form at every place takes linear time: four times as long, not sixteen times."""

    def cost(length: int) -> float:
        text = piece * (length // len(piece))
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            found(detector, text)
            best = min(best, time.process_time() - begun)
        return best

    assert cost(80_000) < 10 * cost(20_000) + 0.02


def test_off_means_that_nothing_is_imported_or_looked_at() -> None:
    """Without the setting there is no redaction at all; with names alone no detector is called."""
    assert redaction(None) is None
    made = redaction(("password",))
    assert made is not None
    logged = made.apply(LoggedEvent(0.0, "info", "t", "mira@example.org 4111111111111111", {}, None, None))
    assert "mira@example.org 4111111111111111" == logged.event
