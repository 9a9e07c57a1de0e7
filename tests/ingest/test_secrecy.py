"""A token is sent to its store and goes nowhere else: no log, file, error, traceback, repr or status holds it."""

from __future__ import annotations

import base64
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.config import Settings
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.stores import open_store
from ipfs_log_handlers.testing import FakeKubo, Request, Response
from tests.support import programs, sample_homes
from tests.support.cli import run

SECRET = "hush-4f1d9c"
SENT = {SECRET, base64.b64encode(f"mira:{SECRET}".encode()).decode()}
FORMS = ["bearer:" + SECRET, "basic:mira:" + SECRET, "env:IPFS_LOGS_TEST_TOKEN", "file:TOKEN_FILE"]

PROGRAM = """
    configure(kubo=KUBO, token=TOKEN, level="DEBUG", flush_timeout=1.0, batch={"records": 5, "seconds": 0.05})
    logging.getLogger().addHandler(logging.StreamHandler())
    logging.captureWarnings(True)
    for i in range(20): log.info("r%d", i)
    [h, _] = logging.getLogger().handlers
    until = time.monotonic() + 60
    while not h.status()[0]["last_error"] and time.monotonic() < until: time.sleep(0.02)
    print(h, repr(h), h.status(), vars(h), h._recorder._settings, h._recorder.home.counters())
    import ipfs_log_handlers, traceback
    for wrong in ({"token": TOKEN + "x"}, {"token": TOKEN, "flush_timout": 1}, {"token": TOKEN, "replicas": 0}):
        try:
            ipfs_log_handlers.IPFSHandler("logs", home=HOME, kubo=KUBO, **wrong)
        except ValueError as error:
            print(repr(error), error.args)
            traceback.print_exc()
"""


def echo(status: int) -> Any:
    """Run a daemon that repeats the request in its answer, as a proxy may."""

    def say(asked: Request) -> Response:
        sent_token = asked.headers.get("authorization", "")
        return FakeKubo.error(
            status, f"not for you: {sent_token} " + "x" * 130 + f" {sent_token} " + "y" * 120 + sent_token
        )

    return say


@pytest.fixture(params=[403, 500])
def indiscreet(request: pytest.FixtureRequest) -> Iterator[FakeKubo]:
    """Run a daemon that refuses, or fails, and repeats the token in its answer."""
    with FakeKubo() as daemon:
        daemon.respond_always("version", echo(request.param))
        daemon.respond_always("dag/import", echo(request.param))
        yield daemon


def nowhere(*texts: str, home: Path | None = None) -> None:
    """No text and no byte of a home holds the secret, in any form in which it is sent."""
    found = [text.encode() for text in texts]
    if home is not None:
        found += [path.read_bytes() for path in home.rglob("*") if path.is_file()]
        assert len(found) > len(texts)
    for each in found:
        assert not [form for form in SENT if form.encode() in each], each[:2000]


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_program_keeps_the_token_to_itself(home, tmp_path, indiscreet, form):
    """A program whose root logs at DEBUG, whose daemon repeats the token, and whose configuration is wrong."""
    (tmp_path / "token").write_text(f"bearer:{SECRET}\n")
    form = form.replace("TOKEN_FILE", str(tmp_path / "token"))
    env = {"IPFS_LOGS_TEST_TOKEN": f"bearer:{SECRET}"}

    ended = programs.run(home, PROGRAM, KUBO=indiscreet.url, TOKEN=form, env=env)

    assert 0 == ended.code, ended.err
    sent = [asked.headers.get("authorization", "") for asked in indiscreet.requests]
    assert any(form in sent_token for form in SENT for sent_token in sent)
    nowhere(ended.out, ended.err, home=home)
    assert "not for you" in ended.out


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS[:2])
def test_verbs_keep_the_token_to_themselves(home, indiscreet, form):
    """`ship` and `doctor` tell what the daemon answered, without the token in it; `status` tells the same later."""
    sample_homes.make(home, 10)
    given = ("--kubo", indiscreet.url, "--token", form)
    ship, doctor = run("ship", *given, "--timeout", "3", home=home), run("doctor", *given, home=home)
    status = [run("status", "-o", form, home=home) for form in ("text", "json", "openmetrics")]
    assert (4, 4) == (ship.code, doctor.code)
    assert "not for you" in ship.err
    assert "not for you" in doctor.out
    nowhere(*(done.out + done.err for done in (ship, doctor, *status)), home=home)


@pytest.mark.parametrize(
    "keywords",
    [
        {"token": f"bearer:{SECRET} {SECRET}"},
        {"token": f"basic:{SECRET}!"},
        {"token": f"nonsense:{SECRET}"},
        {"token": f"file:{SECRET}", "replicas": 5},
        {"kubo": f"http://mira:{SECRET}@127.0.0.1:5001"},
        {"kubo": f"mira:{SECRET}@127.0.0.1"},
        {"kubo": f"http://127.0.0.1:5001/?token={SECRET}"},
    ],
    ids=range(7),
)
def test_errors_of_a_configuration_do_not_repeat_the_token(home, keywords):
    """A token or address that is refused is not repeated by the error, nor by its traceback."""
    given = {"kubo": "http://127.0.0.1:9", **keywords}
    try:
        IPFSHandler("logs", home=home, keeper="none", **given).close()
        open_store(given["kubo"], token=given.get("token"))
    except ConfigurationError as error:
        nowhere(str(error), repr(error), "".join(traceback.format_exception(error)))
    else:
        pytest.fail("it was accepted")


def test_settings_and_stores_do_not_show_the_token(home):
    """Neither settings nor a store show it when they are printed."""
    settings = Settings.parse({"home": home, "kubo": "http://127.0.0.1:9", "token": f"bearer:{SECRET}"})
    store = open_store("http://127.0.0.1:9", token=f"bearer:{SECRET}")
    nowhere(repr(settings), str(settings), repr(store), str(store))
