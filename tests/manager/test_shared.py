"""The one manager that a process shares: how it is configured, and where it is registered."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ipfs_log_handlers import IPFSHandler
from ipfs_log_handlers.errors import ConfigurationError
from ipfs_log_handlers.manager import DatasetsManager
from ipfs_log_handlers.manager import shared as module


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, home):
    monkeypatch.setattr(module, "_shared", None)
    monkeypatch.setattr(module, "_disabled", None)
    monkeypatch.setattr(module, "_configured", {})
    monkeypatch.setenv("IPFS_LOGS_HOME", str(home))
    monkeypatch.setitem(sys.modules, module._MODULE_NAME, None)
    del sys.modules[module._MODULE_NAME]
    yield
    if module._shared is not None:
        module._shared.close()


def test_one_for_all(home):
    """Every caller gets the same one, from the environment, however it passes its arguments."""
    one = module.get_ipfs_datasets_manager(ipfs_client=None, enable=True)
    two = module.get_ipfs_datasets_manager(enable=True, ipfs_client=object())

    assert one is two is module.get_ipfs_datasets_manager()
    assert one.home == home


def test_switched_off():
    """`enable=False` gives one that is truthy, and says that it is not available."""
    off = module.get_ipfs_datasets_manager(enable=False)

    assert (True, False) == (bool(off), off.is_available())
    assert off.store(data=b"x")["success"] is False


def test_configure(tmp_path):
    """What `configure` says takes the place of the environment; what is wrong in it changes nothing."""
    made = module.configure(home=tmp_path / "elsewhere", keeper="none")
    with pytest.raises(
        ConfigurationError, match=r"^manager\.configure: no such keyword 'kuboo'; did you mean 'kubo'\?$"
    ):
        module.configure(kuboo="x")

    assert made is module.get_ipfs_datasets_manager()
    assert made.home == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("hme", "did you mean manager.configure(home=…)?"),
        ("home", "did you mean manager.configure(home=…)?"),
        ("enabel", "did you mean 'enable'?"),
        ("zzz", "expected one of ipfs_client, enable"),
    ],
)
def test_keywords_that_it_has_not(home, name, told):
    """A keyword that the shared manager does not take is told with what was meant, and who takes it."""
    with pytest.raises(ConfigurationError) as caught:
        module.get_ipfs_datasets_manager(**{name: home})
    assert f"get_ipfs_datasets_manager: no such keyword '{name}'; {told}" == str(caught.value)


def test_misspelt_setting_of_a_manager():
    """A manager of one's own names a misspelt keyword as its own."""
    with pytest.raises(
        ConfigurationError, match=r"^DatasetsManager: no such keyword 'replica'; did you mean 'replicas'"
    ):
        DatasetsManager(replica=2)


def test_beside_handlers_with_other_settings(home):
    """A handler of the same home may have settings of its own: the manager is no second opinion on them."""
    handlers = [IPFSHandler(each, home=home, keeper="none", batch={"records": 7}) for each in ("audit", None)]
    try:
        assert module.get_ipfs_datasets_manager().store(data=b"x", metadata={"type": "audit_log"})["success"]
        handlers.append(IPFSHandler("wal", home=home, batch={"records": 9}))
    finally:
        for each in handlers:
            each.close()


def test_install():
    """It is found under the name that they import, once, with the flag that they copy; nothing is imported."""
    made = module.install()
    names: dict[str, Any] = {}
    assert made is module.install()
    sys.modules["ipfs_kit_py"] = type(sys)("ipfs_kit_py")
    try:
        exec(
            f"from {module._MODULE_NAME} import get_ipfs_datasets_manager as get, IPFS_DATASETS_AVAILABLE as flag",
            names,
        )
    finally:
        del sys.modules["ipfs_kit_py"]
    assert names["flag"] is True
    assert names["get"](ipfs_client=None, enable=True) is module.get_ipfs_datasets_manager()


def test_install_too_late():
    """Where their own module was imported already, it says so and what to do."""
    sys.modules[module._MODULE_NAME] = type(sys)("other")

    with pytest.raises(ConfigurationError, match="before the first import"):
        module.install()
