"""Import modules while no fork can happen: a child would wait for ever for a module that another thread was importing.

Python releases its import lock in a child, but not the lock of each single module: if a program forks while the
keeper's thread imports aiohttp, the child hangs at its own `import aiohttp`. So a fork waits for these imports, once in
the life of a process.
"""

from __future__ import annotations

from ipfs_log_handlers import stores
from ipfs_log_handlers.concurrency import fork

__all__ = ["load_for_encryption", "load_for_pin_services", "load_for_sealing", "load_for_store"]


def load_for_sealing() -> None:
    """Import the modules for sealing, and those that `cryptography` imports at the first signature."""
    with fork.importing():
        from ipfs_log_handlers.format.checkpoint import SecretKey
        from ipfs_log_handlers.format.payload import Encoder
        from ipfs_log_handlers.home import file_identity

        file_identity.preload()
        SecretKey.generate(bytes(32)).sign(b"")
        Encoder(1).finish()


def load_for_encryption() -> None:
    """Import the library that encrypts batches.

    Raises:
        ConfigurationError: it is not installed.
    """
    with fork.importing():
        from ipfs_log_handlers.format import encryption

        encryption.age_library()


def load_for_pin_services() -> None:
    """Import the modules that a pin service needs."""
    with fork.importing():
        from ipfs_log_handlers.stores import pins

        pins.preload()


def load_for_store(address: str) -> None:
    """Import the modules that the store at an address needs."""
    with fork.importing():
        stores.preload(address)
