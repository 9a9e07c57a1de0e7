"""Register subsystems of a program, after all of their settings were checked."""

from __future__ import annotations

from ipfs_log_handlers import subsystems
from ipfs_log_handlers.subsystems import Subsystem

__all__ = ["register"]


def register(subsystem: Subsystem) -> Subsystem:
    """Register a subsystem for the handlers, the command line and the keeper of this process.

    Raises:
        ConfigurationError: another subsystem has that name, or `encrypt` is wrong.
    """
    if subsystem.encrypt is not None:
        from ipfs_log_handlers.config import encrypt_of_subsystem

        encrypt_of_subsystem(subsystem.name, subsystem.encrypt)
    return subsystems.register(subsystem)
