from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.subsystems import registry
from ipfs_log_handlers.subsystems.registry import Router, Subsystem

MODULES = [
    path.stem
    for path in Path(subsystems.__file__).parent.glob("*.py")
    if re.search(r"^SUBSYSTEM\b", path.read_text("utf-8"), re.MULTILINE)
]
"""The modules of the package that declare a subsystem."""


@pytest.fixture(autouse=True)
def _restore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget what a test has registered."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    Router.forget()
    yield
    Router.forget()


class TestNames:
    def test_every_module_with_a_subsystem_is_registered(self) -> None:
        """Each module that declares a subsystem is known under its own name, and no other is."""
        assert len(MODULES) >= 11
        assert sorted(MODULES) == sorted(subsystems.names())
        assert subsystems.names() == tuple(subsystem.name for subsystem in subsystems.load())

    @pytest.mark.parametrize(
        "name", ["", "A", "a-b", "a/b", "..", ".", "a b", "ä", "a" * 65, "a\n", "requests", "reserve", "writer.key"]
    )
    def test_directories(self, name: str) -> None:
        """Home, names: a name becomes a directory: `[a-z0-9_]{1,64}`, and none that a home has already."""
        with pytest.raises(ConfigurationError, match="directory"):
            Subsystem(name=name, type="x")

    def test_own(self) -> None:
        """A program adds its own; the same once more is fine, another one of that name is an error."""
        own = subsystems.register(Subsystem(name="billing", type="bill"))
        assert own is subsystems.register(Subsystem(name="billing", type="bill")) or own == subsystems.get("billing")
        with pytest.raises(ConfigurationError, match="billing: another subsystem"):
            subsystems.register(Subsystem(name="billing", type="other"))

    def test_unknown(self) -> None:
        """A wrong name is told with the nearest right one, and how to register one's own."""
        with pytest.raises(ConfigurationError, match=r"'audit' perhaps.*'audti'.*register"):
            subsystems.get("audti")
        with pytest.raises(ConfigurationError, match="one of audit"):
            subsystems.get("zzzzzzzz")
        with pytest.raises(ConfigurationError):
            subsystems.get(["audit"])  # type: ignore[arg-type]

    def test_records(self) -> None:
        """A batch holds at least one record."""
        with pytest.raises(ConfigurationError, match="at least one"):
            Subsystem(name="x", type="x", records=0)


class TestRouting:
    @pytest.mark.parametrize(
        ("logger", "event", "named", "expected"),
        [
            ("x", "x", None, "logs"),
            ("audit", "x", None, "audit"),
            ("audit.sub.sub", "x", None, "audit"),
            ("auditor", "x", None, "logs"),
            ("x", "audit.event", None, "audit"),
            ("x", "audit.event.more", None, "audit"),
            ("x", "audit.eventful", None, "logs"),
            ("ipfs_kit_py.storage_wal", "audit.event", None, "audit"),
            ("ipfs_kit_py.storage_wal.x", "no event", None, "wal"),
            ("audit", "audit.event", "wal", "wal"),
            ("audit", "x", "no such", "audit"),
            ("audit", "x", 5, "audit"),
            ("audit", None, "../../etc", "audit"),
            ("", "", None, "logs"),
        ],
    )
    def test_table(self, logger: str, event: object, named: object, expected: str) -> None:
        """The field `subsystem` > the longest event prefix > the longest logger prefix > `logs`."""
        assert expected == Router.route(logger, event, named)

    def test_longest(self) -> None:
        """Of two prefixes the longer one counts; what is registered later is known at once."""
        assert "audit" == Router.route("audit.billing.x", "e")
        subsystems.register(
            Subsystem(name="billing", type="bill", loggers=("audit.billing",), events={"audit.event.x": ()})
        )
        assert "billing" == Router.route("audit.billing.x", "e")
        assert "billing" == Router.route("x", "audit.event.x.y")
        assert "audit" == Router.route("x", "audit.event.y")

    def test_long_text(self) -> None:
        """An event that is a megabyte with a hundred thousand dots costs no more than a short one."""
        begun = time.process_time()
        assert "logs" == Router.route("x", "a." * 500_000)
        assert "audit" == Router.route("x", "audit.event." + "a." * 500_000)
        assert time.process_time() - begun < 0.1

    def test_required_fields(self) -> None:
        """What an event requires and the record lacks is told; an unknown event requires nothing."""
        audit, actions = subsystems.get("audit"), subsystems.get("mcp_actions")
        assert audit.lacks("audit.event", {"event_type": 1, "action": "a"})
        assert not audit.lacks("audit.event", {"event_type": 1, "action": "a", "timestamp": 1})
        assert not audit.lacks("other", {})
        assert not audit.lacks(5, {})
        assert actions.lacks("mcp.action", {"success": True})
        assert not actions.lacks("mcp.action", {"success": True, "method": "m"})
        assert "audit.event" == audit.first_event
        assert subsystems.get("logs").first_event is None

    def test_configured_fields(self) -> None:
        """What a handler's `metadata` gives, a record need not have."""
        replication = subsystems.get("fs_replication")
        assert replication.lacks("replication.peer", {})
        assert not replication.lacks("replication.peer", {}, {"node_id": "n", "role": "r"})
        assert ("role", "entry_id", "status") == replication.required({"node_id": "n"})["replication.entry"]
        assert ("success", "command|method") == subsystems.get("mcp_actions").required()["mcp.action"]
