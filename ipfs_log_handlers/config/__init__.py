"""Parse and check the settings of a handler or processor.

dictConfig gives flat keywords; `Settings.parse` turns them into values, takes defaults from the environment
(`IPFS_LOGS_HOME`, `IPFS_LOGS_KUBO`, `IPFS_LOGS_TOKEN`) and names what is wrong.

`settings.py` has the settings and checks their values, `encryption.py` those of `encrypt`, `keywords.py` checks the
names of keywords, and `location.py` chooses the default home.
"""

from __future__ import annotations

from ipfs_log_handlers.config.encryption import Encrypt, EncryptKeywords, encrypt_of_subsystem, encrypt_setting
from ipfs_log_handlers.config.keywords import check_names, resolved
from ipfs_log_handlers.config.location import default_home, homes_directory, program_name
from ipfs_log_handlers.config.settings import (
    DEFAULT_QUIET_SECONDS,
    DEFAULT_SECONDS,
    Batch,
    Durability,
    Include,
    Keeper,
    Keywords,
    Settings,
    WhenFull,
    configured_home,
    setting_names,
    source,
)

__all__ = [
    "DEFAULT_QUIET_SECONDS",
    "DEFAULT_SECONDS",
    "Batch",
    "Durability",
    "Encrypt",
    "EncryptKeywords",
    "Include",
    "Keeper",
    "Keywords",
    "Settings",
    "WhenFull",
    "check_names",
    "configured_home",
    "default_home",
    "encrypt_of_subsystem",
    "encrypt_setting",
    "homes_directory",
    "program_name",
    "resolved",
    "setting_names",
    "source",
]
