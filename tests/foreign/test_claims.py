"""Homes whose files name numbers without end: no verb counts up to them, and none holds a list of them."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from functools import partial

import pytest

from ipfs_log_handlers.home import delivery_state, head
from ipfs_log_handlers.home.batches import Batches
from ipfs_log_handlers.home.delivery_state import Aside, DeliveryState
from ipfs_log_handlers.home.layout import HomeDir
from tests.support.cli import command, run
from tests.support.hostile_homes import claim_batches, signed_batch
from tests.support.programs import environment
from tests.support.verbs import READING

FAR = 10**12
MAX_MEMORY = 2 << 30
"""Bytes of address space that a verb may ask for."""
MAX_MEMORY_OF_SQL = 8 << 30
"""The same for `sql`: the threads of DuckDB and Arrow alone ask for more than other verbs may."""
VERBS = [
    *map(" ".join, READING),
    "status -o openmetrics",
    "cat --cid bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    "doctor --repair",
    "ship --timeout 0",
    "ship --retry-set-aside --timeout 0",
]


def far_head(home: HomeDir) -> None:
    """Let the head name a batch that is not there."""
    claim_batches(home, FAR)


def far_file(home: HomeDir) -> None:
    """Let the head name a batch far above all others, and give a file its number."""
    claim_batches(home, FAR)
    batches = Batches(home.subsystem_dir("audit").current.batches)
    batches.file(FAR).parent.mkdir()
    shutil.copyfile(batches.file(0), batches.file(FAR))


def far_file_without_head(home: HomeDir) -> None:
    """Lose the head, and give a file a number far above all others."""
    far_file(home)
    home.subsystem_dir("audit").current.head.unlink()


def far_state(home: HomeDir) -> None:
    """Let a store confirm batches without end, and set one aside."""
    paths = home.subsystem_dir("audit").current
    state = head.load(paths.head)
    assert state is not None
    claim = DeliveryState(
        log=state.log, address="http://127.0.0.1:9", confirmed_through=FAR, aside=(Aside(5, "no reason"),)
    )
    delivery_state.store(paths.shipped, "0123456789abcdef", claim)


def far_index(home: HomeDir) -> None:
    """Make the index of batches as long as if it had a row for each of them."""
    with (home.subsystem_dir("audit").current.batches / "index").open("r+b") as file:
        file.truncate(1 << 40)


CLAIMS = [far_head, far_file, far_file_without_head, far_state, far_index]


def limited(most: int) -> None:
    """Refuse more bytes of address space to this process."""
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


@pytest.mark.parametrize("share", [len(CLAIMS), pytest.param(1, marks=pytest.mark.soak)])
@pytest.mark.parametrize("claim", CLAIMS)
def test_no_verb_counts_up_to_a_number_that_a_home_claims(tmp_path, claim, share):
    """Each verb ends by itself, in little memory, and without a traceback.

    `make test` tries each verb with one of the claims; `make soak` tries all pairs.
    """
    for number, verb in list(enumerate(VERBS))[CLAIMS.index(claim) % share :: share]:
        home = signed_batch(tmp_path / str(number), [b"{}\n"], records=1, raw=3)
        claim(home)
        ended = subprocess.run(
            command("--home", home.path, *verb.split()),
            capture_output=True,
            text=True,
            timeout=60,
            env=environment(),
            preexec_fn=partial(limited, MAX_MEMORY_OF_SQL if verb.startswith("sql ") else MAX_MEMORY),
        )
        assert ended.returncode in {0, 1, 2, 3, 4, 5}, verb
        assert "Traceback" not in ended.stderr, verb
        assert "MemoryError" not in ended.stderr, verb


def test_a_head_far_above_the_batches_is_damage(home):
    """What the head says is not believed; the batches that are there are read, and the head is reported."""
    claim_batches(signed_batch(home, [b"{}\n"], records=1, raw=3), FAR)
    problem = "the head names a batch far above those in the home"

    assert problem in run("cat", home=home).err
    found = json.loads(run("verify", "-o", "json", home=home).out)
    assert (1, False) == (found["batches"], found["ok"])
    assert problem in [each["found"].partition(":")[0] for each in found["problems"] if each["field"] == "head"]
    assert problem in run("doctor", "-o", "json", home=home).out


def test_a_head_a_little_above_the_batches_is_believed(home):
    """Files that damage has taken are named one by one."""
    claim_batches(signed_batch(home, [b"{}\n"], records=1, raw=3), 3)
    ended = run("cat", home=home)

    assert ["batch 1", "batch 2", "batch 3"] == [
        f"batch {number}"
        for number in range(1, 4)
        if f"audit batch {number} is damaged: its file is missing" in ended.err
    ]
    assert 4 == json.loads(run("verify", "-o", "json", home=home).out)["batches"]
