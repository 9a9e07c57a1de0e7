"""Every source gives the same records: a home, its CAR files, and one CID behind a daemon or a gateway."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipfs_log_handlers import (
    ConfigurationError,
    FormatError,
    VerificationError,
    open_dataset,
    open_home,
)
from ipfs_log_handlers.api import Dataset
from ipfs_log_handlers.format.cid import Cid
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.reader import gateway as gateway_module
from ipfs_log_handlers.reader import sealed as sealed_module
from ipfs_log_handlers.testing import FakeKubo
from tests.query.test_dataset import conditions
from tests.support import gateways, query_homes, sample_homes
from tests.support.cli import run
from tests.support.hostile_homes import put_kind
from tests.support.line_source import LinePart, LineSource, line
from tests.support.sample_homes import head_of, key_of


@pytest.fixture(scope="module")
def queried(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a home with twelve sealed batches of one subsystem."""
    home = tmp_path_factory.mktemp("sources") / "home"
    query_homes.make_twelve_batches(home)
    return home


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a gateway be asked again at once."""
    monkeypatch.setattr(gateway_module.Gateway.__init__, "__kwdefaults__", {"pauses_s": (0.0, 0.0)})


QUESTIONS: list[dict[str, Any]] = [
    {},
    {"level": "error"},
    {"since": int(query_homes.START) + 20, "until": int(query_homes.START) + 30},
    {"where": {"user_id": "mira"}, "logger": "app.*"},
    {"contains": "timeout"},
]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("home_first", [False, True])
def test_a_batch_is_read_from_another_source_that_has_it(home, tmp_path, monkeypatch, large, home_first):
    """A damaged batch of one source comes from the next one; the gap is reported once where no source has it."""
    if large:
        monkeypatch.setattr(sealed_module, "_MAX_HELD_BYTES", 0)
    sample_homes.make(home, 30)
    cars = tmp_path / "cars"
    shutil.copytree(home / "audit" / "batches", cars)
    sample_homes.damage(home, 1)
    sources = [home, cars] if home_first else [cars, home]
    gaps: list[Any] = []
    dataset = open_dataset(sources, on_gap=gaps.append)
    assert sorted(record["number"] for record in dataset) == list(range(30))
    assert dataset.count() == 30
    assert gaps == []

    sample_homes.damage(home, 2)
    file = cars / "000" / "000002.car"
    sample_homes.flip_last_byte(file)
    assert sorted(record["number"] for record in open_dataset(sources, on_gap=gaps.append)) == list(range(20))
    assert [gap.index for gap in gaps] == [2]


def test_the_histories_of_two_sources_are_compared_once(monkeypatch):
    """Whether a batch is read as a text or line by line: the manifest of each source is read once."""
    asked: list[LinePart] = []
    monkeypatch.setattr(LinePart, "manifest", lambda part: asked.append(part))  # noqa: PLW0108 - a method
    lines = [[line(0)], [line(60)]]
    dataset = Dataset((LineSource(lines), LineSource(lines)))
    assert 2 == len(list(dataset))
    assert 4 == len(asked)


def test_a_home_that_is_given_twice_counts_once(home, tmp_path):
    """Its unsealed lines are not repeated, also when one of the paths is a link."""
    sample_homes.make(home, 10)
    sample_homes.log(home, range(10, 15))
    link = tmp_path / "link"
    link.symlink_to(home)
    assert open_dataset([home, link, str(home), open_home(home)]).count() == 15


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS, ids=str)
def test_all_sources_give_the_same_records(queried, tmp_path, question):
    """A home, a directory of CAR files, and a head behind a gateway or a daemon give the same records and counts."""
    expected = open_dataset(queried).filter(**question)
    cars = tmp_path / "cars"
    shutil.copytree(queried / "audit" / "batches", cars)
    keys = [key_of(queried)]
    blocks = gateways.blocks_of(queried)
    with gateways.gateway(blocks) as served, FakeKubo() as daemon:
        daemon.store.blocks.update(blocks)
        sources = {
            "cars": open_dataset(cars, keys=keys),
            "gateway": open_dataset(head_of(queried), gateway=served.url, keys=keys),
            "daemon": open_dataset(f"/ipfs/{head_of(queried)}", kubo=daemon.url, keys=keys),
            "all of them": open_dataset([queried, cars, head_of(queried)], gateway=served.url),
        }
        for name, dataset in sources.items():
            with dataset:
                narrow = dataset.filter(**question)
                assert list(narrow) == list(expected), name
                assert narrow.count() == expected.count(), name
                assert narrow.reverse().limit(3).count() == min(3, expected.count()), name


@pytest.mark.slow
@settings(max_examples=25)
@given(chosen=st.lists(conditions.filter(lambda condition: "subsystem" not in condition[0]), max_size=3))
def test_random_filters_give_the_same_from_elsewhere(opened, chosen):
    """Whatever is filtered: from a head behind a gateway, and from CAR files, the records are those of the home."""
    for arguments, _ in chosen:
        opened = [dataset.filter(**arguments) for dataset in opened]
    home, *others = opened
    expected = list(home)
    for other in others:
        assert list(other) == expected
        assert other.count() == len(expected)
        assert list(other.last(2)) == expected[-2:]


@pytest.fixture(scope="module")
def opened(queried: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Dataset]]:
    """Open a home, a head behind a gateway, and the CAR files of the home."""
    cars = tmp_path_factory.mktemp("cars") / "cars"
    shutil.copytree(queried / "audit" / "batches", cars)
    with (
        gateways.gateway(gateways.blocks_of(queried)) as served,
        open_dataset(head_of(queried), gateway=served.url, keys=[key_of(queried)]) as remote,
    ):
        yield [open_dataset(queried), remote, open_dataset(cars, keys=[key_of(queried)])]


def test_one_car_file_and_a_manifest_are_sources_too(queried):
    """A single CAR gives its batch; a manifest gives its batch and all before it."""
    batches = Batches(sample_homes.subsystem_dir(queried).current.batches)
    assert open_dataset(batches.file(3)).count() == 5
    with gateways.gateway(gateways.blocks_of(queried)) as served:
        dataset = open_dataset(batches.facts(3).cid.text, gateway=served.url)
        assert dataset.count() == 20
        dataset.close()
        other = open_dataset(batches.facts(3).cid.text, gateway=served.url, keys=[key_of(queried)])
        with other, pytest.raises(VerificationError, match="only the signature of a head block"):
            other.count()


@pytest.mark.parametrize("kind", ["pipe", "socket", "directory", "link", "loop", "huge", "garbage"])
def test_what_is_no_car_file_among_others_is_named_and_hides_none(queried, tmp_path, kind):
    """A directory that another person packed: no link in it is followed, and nothing waits for a pipe."""
    cars = tmp_path / "cars"
    shutil.copytree(queried / "audit" / "batches", cars)
    put_kind(kind, cars / "bad.car", queried / "writer.key")
    ended = run("query", "--source", cars)
    assert len(ended.objects) == 60
    if kind == "directory":  # no name of a file
        return
    assert ended.code == 3
    assert f"{cars / 'bad.car'}: " in ended.err


def test_a_car_file_may_be_named_by_a_link(queried, tmp_path):
    """The user has named it."""
    (tmp_path / "link.car").symlink_to(Batches(sample_homes.subsystem_dir(queried).current.batches).file(3))
    assert open_dataset(tmp_path / "link.car").count() == 5


def test_a_remote_query_asks_for_no_payload_that_cannot_match(queried):
    """A time window asks for the payloads of its batches alone."""
    manifests = len(gateways.blocks_of(queried)) - 12  # each batch has a manifest, a head and a payload
    with gateways.gateway(gateways.blocks_of(queried)) as served:
        dataset = open_dataset(head_of(queried), gateway=served.url).filter(until=int(query_homes.START) + 2)
        plan = dataset.explain()
        before = len(served.asked)
        assert len(list(dataset)) == dataset.count()
        dataset.close()
    assert before <= manifests
    assert plan.opened < 4
    assert len(served.asked) - before <= 2 * plan.opened


def test_many_blocks_are_asked_for_at_a_time(queried):
    """Payloads come many at a time, so that latency is not paid for each: none comes before five were asked for."""
    batches = Batches(sample_homes.subsystem_dir(queried).current.batches)
    payloads = {batches.facts(index).manifest.payload for index in range(12)}
    five_are_asked_for = threading.Event()

    def hold(_: object, cid: Cid, __: bytes) -> bool:
        if served.now > 4:
            five_are_asked_for.set()
        assert cid not in payloads or five_are_asked_for.wait(60)
        return False

    with (
        gateways.gateway(gateways.blocks_of(queried), answer=hold) as served,
        open_dataset(head_of(queried), gateway=served.url) as dataset,
    ):
        assert len(list(dataset)) == 60
    assert 4 < served.most_at_once <= 16


# -- what is not as it should be


def test_missing_blocks_are_gaps_and_the_rest_is_given(queried):
    """A payload, and a manifest, that nobody has are gaps; what can be reached without them is given."""
    batches = Batches(sample_homes.subsystem_dir(queried).current.batches)
    blocks = gateways.blocks_of(queried)
    del blocks[batches.facts(2).manifest.payload]
    del blocks[batches.facts(9).cid]
    gaps: list[Any] = []
    with (
        gateways.gateway(blocks) as served,
        open_dataset(head_of(queried), gateway=served.url, on_gap=gaps.append) as dataset,
    ):
        found = [record["number"] for record in dataset]

    assert {number // 5 for number in found} == set(range(12)) - {2, 8, 9}  # only batch 9 leads to batch 8
    assert [(gap.kind, gap.index) for gap in gaps] == [("absent", 8), ("absent", 2)]
    assert "no manifest of batches 8 to 9" in gaps[0].reason


def test_another_key_is_refused(queried, tmp_path):
    """With a key that has not signed, a head is an error, a home is an error, and a CAR is a gap."""
    other = tmp_path / "other"
    sample_homes.make(other, 3)
    keys = [key_of(other)]
    with gateways.gateway(gateways.blocks_of(queried)) as served:
        dataset = open_dataset(head_of(queried), gateway=served.url, keys=keys)
        with pytest.raises(VerificationError, match="no trusted key"):
            list(dataset)
        dataset.close()
    with pytest.raises(VerificationError, match="no trusted key"):
        open_dataset(queried, keys=keys)
    gaps: list[Any] = []
    file = Batches(sample_homes.subsystem_dir(queried).current.batches).file(0)
    assert list(open_dataset(file, keys=keys, on_gap=gaps.append)) == []
    assert "from a head that a trusted key has signed" in gaps[0].reason
    assert open_dataset(queried, keys=[key_of(queried)]).count() == 60


def test_a_damaged_car_is_a_gap(queried, tmp_path):
    """A file that is no CAR, and a batch with a flipped bit, are reported; the other batches are given."""
    cars = tmp_path / "cars"
    shutil.copytree(queried / "audit" / "batches" / "000", cars)
    (cars / "000001.car").write_bytes(b"nonsense")
    content = bytearray((cars / "000002.car").read_bytes())
    content[-1] ^= 1
    (cars / "000002.car").write_bytes(content)
    gaps: list[Any] = []
    found = [record["number"] for record in open_dataset(cars, on_gap=gaps.append)]

    assert sorted(found) == [*range(5), *range(15, 60)]
    assert [gap.kind for gap in gaps] == ["damaged", "damaged"]


def test_a_cid_needs_one_place_to_ask(queried):
    """A CID without daemon or gateway, or with both, is wrong usage; so is a gateway that is no URL."""
    url = "http://127.0.0.1:1"
    for kubo, gateway in ((None, None), (url, url), (None, "ftp://x")):
        with pytest.raises(ConfigurationError):
            open_dataset(head_of(queried), kubo=kubo, gateway=gateway)
    block = b"no manifest"
    with gateways.gateway({Cid.of(0x55, block): block}) as served:
        dataset = open_dataset(Cid.of(0x55, block).text, gateway=served.url)
        with pytest.raises(FormatError):
            list(dataset)
        dataset.close()
    with pytest.raises(ConfigurationError, match="only homes and names can be followed"):
        open_dataset(Batches(sample_homes.subsystem_dir(queried).current.batches).file(0)).follow()


def test_the_command_line_takes_each_source(queried):
    """`--source` takes CAR files and CIDs, with `--gateway`, `--kubo` and `--key`."""
    file = Batches(sample_homes.subsystem_dir(queried).current.batches).file(0)
    assert len(run("query", "--source", file).objects) == 5
    with gateways.gateway(gateways.blocks_of(queried)) as served:
        given = ["--source", head_of(queried), "--gateway", served.url]
        assert len(run("query", *given, "--key", key_of(queried)).objects) == 60
        assert len(run("query", *given, "--source", queried).objects) == 60
        assert run("query", "--source", head_of(queried)).code == 2
    assert run("query", "--source", head_of(queried), "--gateway", "http://127.0.0.1:9", "-n", "1").code == 4


@pytest.mark.parametrize("place", ["rpc", "gateway"])
def test_a_real_daemon_gives_a_log_of_which_only_the_head_is_known(queried, kubo, place):
    """A log that was shipped to Kubo is read through RPC and gateway with the CID of the head and the key alone."""
    sample_homes.ship(queried, kubo.url)
    expected = list(open_dataset(queried).filter(level="error"))
    daemon, gateway = (kubo.url, None) if place == "rpc" else (None, kubo.gateway_url)
    with open_dataset(head_of(queried), keys=[key_of(queried)], kubo=daemon, gateway=gateway) as dataset:
        assert list(dataset.filter(level="error")) == expected
        assert dataset.count() == 60


def test_a_reader_at_another_daemon_needs_the_head_and_the_key_alone(queried, kubo_daemon):
    """A log that was shipped to one daemon is read from a second one, which gets each block from the first."""
    first, second = (kubo_daemon(offline=False, settings={"Gateway.NoFetch": False}) for _ in range(2))
    sample_homes.ship(queried, first.url)
    peer = json.loads(first.cli("id"))
    address = next(address for address in peer["Addresses"] if address.startswith("/ip4/127.0.0.1/tcp/"))
    second.cli("swarm", "connect", address)
    expected = list(open_dataset(queried))

    with open_dataset(head_of(queried), gateway=second.gateway_url, keys=[key_of(queried)], verify="chain") as dataset:
        assert list(dataset) == expected
        (report,) = dataset.verify()
        assert (report.ok, report.batches, report.records) == (True, 12, 60)
