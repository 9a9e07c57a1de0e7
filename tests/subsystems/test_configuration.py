"""A subsystem of one's own, and what batches say where records do not: by logging configuration alone."""

from __future__ import annotations

import copy
import logging
import logging.config
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ipfs_log_handlers
from ipfs_log_handlers import ConfigurationError, IPFSHandler, IPFSProcessor, Subsystem, register, subsystems
from ipfs_log_handlers.subsystems import registry
from ipfs_log_handlers.subsystems.registry import Router
from ipfs_log_handlers.subsystems.rules import count, distinct
from tests.support import oracle, programs
from tests.support.logging_home import logging_to, seal_home

EXAMPLES = Path(__file__).parents[2] / "examples"
BILLING: dict[str, Any] = {
    "()": "ipfs_log_handlers.Subsystem",
    "name": "billing",
    "type": "bills",
    "loggers": ["shop.billing"],
    "events": {"billing.paid": ["invoice", "amount"]},
    "records": 20,
    "meta": {
        "paid_count": {"rule": "count"},
        "methods": {"rule": "distinct", "field": "method"},
        "shop": {"rule": "single", "field": "shop", "plural": "shops", "configured": "shop"},
    },
    "zone": ["amount"],
}


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test has registered."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    Router.forget()
    yield
    Router.forget()
    logging.getLogger("shop").handlers.clear()


def configuration(home: Path, **more: Any) -> dict[str, Any]:
    """Return a dictConfig with one handler, for a subsystem that the package does not know."""
    handler = {"class": "ipfs_log_handlers.IPFSHandler", "home": str(home), "keeper": "none", **more}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"billing": {"subsystem": copy.deepcopy(BILLING), **handler}},
        "loggers": {"shop": {"handlers": ["billing"], "level": "INFO", "propagate": False}},
    }


def sealed_meta(home: Path, name: str) -> dict[str, Any]:
    """Return `meta` of the newest batch, sealed by a process that does not know the subsystem."""
    registry._registered.pop(name, None)
    Router.forget()
    seal_home(home)
    meta: dict[str, Any] = oracle.read_home(home)[name][-1].batches[-1].manifest["meta"]
    return meta


class TestOwn:
    def test_dictconfig(self, home: Path) -> None:
        """A mapping under `subsystem` registers it; a keeper that never heard of it counts its batches."""
        logging.config.dictConfig(configuration(home, metadata={"shop": "Basel", "version": "2.1"}))
        log = logging.getLogger("shop")
        log.info("paid", extra={"event": "billing.paid", "invoice": "A", "amount": 5, "method": "cash"})
        log.info("paid", extra={"event": "billing.paid", "invoice": "B", "amount": 7.5, "method": "card"})
        log.info("a plain sentence")
        log.handlers[0].close()
        found = sealed_meta(home, "billing")
        del found["timestamp"]
        assert {
            "type": "bills", "version": "2.1", "record_count": 3, "paid_count": 2, "methods": ["card", "cash"],
            "shop": "Basel", "left_out": 1,
        } == found  # fmt: skip

    def test_again(self, home: Path) -> None:
        """The same configuration once more is fine; another subsystem of the name is an error."""
        logging.config.dictConfig(configuration(home))
        logging.config.dictConfig(configuration(home))
        other = configuration(home)
        other["handlers"]["billing"]["subsystem"]["type"] = "other"
        with pytest.raises(ValueError, match="billing") as error:
            logging.config.dictConfig(other)
        assert "another subsystem has this name" in str(error.value.__cause__)

    def test_three_lines(self, home: Path) -> None:
        """In a program: made, registered, logged to, by its name, itself, or by routing."""
        own = register(Subsystem(name="billing", type="bills", loggers=("shop.billing",), meta={"n": count()}))
        for how in ("billing", own, None):
            handler = IPFSHandler(how, home=home / str(how)[:7], keeper="none")
            logger = logging.Logger("shop.billing")
            logger.addHandler(handler)
            logger.info("x")
            handler.close()
            assert ("billing" if how else None) == handler.subsystem
            assert (home / str(how)[:7] / "billing").is_dir()

    def test_processor(self, home: Path) -> None:
        """A processor takes the same."""
        processor = IPFSProcessor(BILLING, home=home, keeper="none")
        processor(None, "info", {"event": "billing.paid", "invoice": "A", "amount": 5})
        processor.close()
        assert 1 == sealed_meta(home, "billing")["paid_count"]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"evnts": {}}, "expected 'events' perhaps, found 'evnts'"),
            ({"name": None}, "directory"),
            ({"name": "Billing"}, "directory"),
            ({"type": 5}, "not a type"),
            ({"records": "20"}, "at least one record"),
            ({"loggers": "shop"}, r"billing\.loggers: not a list"),
            ({"zone": [5]}, r"billing\.zone: not a list"),
            ({"events": ["billing.paid"]}, r"billing\.events: .*\['invoice', 'amount'\]"),
            ({"events": {"billing.paid": "invoice"}}, "an event lists the fields"),
            ({"meta": {"n": "count"}}, "not a rule; expected a mapping such as"),
            ({"meta": {"n": {"rule": "median", "field": "amount"}}}, "no such rule; expected one of count, counts"),
            ({"meta": {"n": {"rule": "distinct", "feld": "amount"}}}, "no such setting of a rule"),
            ({"meta": {"record_count": {"rule": "count"}}}, "a key that every batch has"),
            ({"meta": []}, "rules are named"),
        ],
        ids=str,
    )
    def test_mistakes(self, home: Path, change: dict[str, Any], message: str) -> None:
        """What is wrong with it is told when the handler is made, and nothing is registered or open."""
        with pytest.raises(ConfigurationError, match=message):
            IPFSHandler({**BILLING, **change}, home=home)
        assert "billing" not in subsystems.names()
        assert not home.exists()

    def test_too_little(self) -> None:
        """A name and a type must be."""
        with pytest.raises(ConfigurationError, match="needs a name and a type"):
            IPFSHandler({"name": "billing"})

    def test_front_door(self) -> None:
        """The names are the package's own."""
        assert Subsystem is ipfs_log_handlers.Subsystem
        assert register is ipfs_log_handlers.register


class TestMetadata:
    def test_of_one(self, home: Path) -> None:
        """What the configuration says stands in the batch where the records do not say."""
        metadata = {"node_id": "n-1", "role": "master", "version": "3"}
        with logging_to(home, "fs_replication", metadata=metadata) as logger:
            logger.info("x", extra={"event": "replication.peer", "peer_id": "p"})
            logger.info("x", extra={"event": "replication.peer", "role": "worker"})
        found = sealed_meta(home, "fs_replication")
        assert ("n-1", "worker", "3", 2) == tuple(
            found[key] for key in ("node_id", "role", "version", "operation_count")
        )
        assert "left_out" not in found

    def test_components(self, home: Path) -> None:
        """Loggers have the component of their longest configured prefix."""
        with logging_to(home, "logs", metadata={"components": {"t": "kit"}, "component": "x"}) as logger:
            logger.info("x")
            logger.info("x", extra={"component": "db"})
        found = sealed_meta(home, "logs")
        assert ("x", ["db", "kit"]) == (found["component"], found["components"])

    def test_routed(self, home: Path) -> None:
        """A handler without a subsystem gives each what it takes."""
        with logging_to(home, None, metadata={"node": "n-1", "component": "c"}) as logger:
            logger.info("x", extra={"event": "fs_journal.alert", "alert_type": "growth_rate",
                                    "severity": "critical", "alert_message": "m"})  # fmt: skip
            logger.info("x")
        monitor, logs = sealed_meta(home, "fs_monitor"), sealed_meta(home, "logs")
        assert ("n-1", 1) == (monitor["monitor_node"], monitor["alert_count"])
        assert "t" == logs["component"]

    @pytest.mark.parametrize(
        ("subsystem", "metadata", "message"),
        [
            ("audit", {"version": ["1"]}, r"metadata\.version: not a value"),
            ("audit", {"version": "x" * 300}, "at most 256 characters"),
            ("audit", {"version": "a\nb"}, "printable"),
            ("audit", {"component": "c"}, "^metadata: audit takes only version; found 'component'$"),
            (
                "telemetry",
                {"sampling_intervall": 5},
                "telemetry takes no 'sampling_intervall'; did you mean 'sampling_interval'",
            ),
            ("telemetry", {"sampling_interval": float("nan")}, "not a value"),
            ("telemetry", {"sampling_interval": 1 << 70}, "not a value"),
            ("logs", {"components": {"a": 5}}, r"metadata\.components: not a value"),
            ("logs", {"component": {"a": "b"}}, r"metadata\.component: not a value"),
            ("logs", {"components": "x"}, r"metadata\.components: not a value"),
            (None, {"nod_id": "n"}, r"^metadata: no subsystem takes 'nod_id'; did you mean 'node_id'\?$"),
            (None, {"zzz": "n"}, "^metadata: subsystems take only .*node_id.*version; found 'zzz'$"),
            ("audit", "1.0", "not metadata"),
            ("audit", {f"v{n}": n for n in range(100)}, "not metadata"),
        ],
        ids=str,
    )
    def test_mistakes(self, home: Path, subsystem: str | None, metadata: Any, message: str) -> None:
        """A wrong name or value is told with the nearest right one."""
        with pytest.raises(ConfigurationError, match=message):
            IPFSHandler(subsystem, home=home, metadata=metadata)

    def test_disagreement(self, home: Path) -> None:
        """Two open handlers of one subsystem have the same metadata."""
        with (
            logging_to(home, "audit", metadata={"version": "1"}),
            pytest.raises(ConfigurationError, match="audit: metadata"),
        ):
            IPFSHandler("audit", home=home, keeper="none", metadata={"version": "2"})


def test_distinct_is_data() -> None:
    """The functions of `rules` and mappings of their settings are the same."""
    own = Subsystem(name="x", type="x", meta={"a": distinct("b"), "c": {"rule": "distinct", "field": "b"}})
    assert own.meta["a"] == own.meta["c"]


def test_the_examples(home: Path) -> None:
    """One dictConfig sets up all subsystems, and three lines an own one: each has its log and its metadata."""
    for example in ("all_subsystems.py", "own_subsystem.py"):
        environment = programs.environment() | {"IPFS_LOGS_HOME": str(home)}
        subprocess.run([sys.executable, EXAMPLES / example], check=True, env=environment, stdout=subprocess.DEVNULL)
    logs = oracle.read_home(home)
    assert {*subsystems.names(), "billing"} == set(logs)
    for [log] in logs.values():
        assert all("left_out" not in batch.manifest["meta"] for batch in log.batches)
    assert ["card", "cash"] == logs["billing"][0].batches[0].manifest["meta"]["methods"]
