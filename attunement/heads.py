"""Where the configuration has the ledger's head kept: a row outside of the folder, which one writer owns."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from attunement.config_schema import ROOT, Config, ConfigError
from ledger import HeadStore, postgres_head_store, sqlite_head_store

_SQLITE: Final = "sqlite:"
_POSTGRES: Final = ("postgresql://", "postgres://")


@contextmanager
def configured_head_store(config: Config) -> Iterator[HeadStore | None]:
    """Open the configured store for as long as the block runs; None if there is none.

    Raises:
        ConfigError: the address is of no known kind.
        HeadStoreError: it cannot be opened.
    """
    address = config.logging.head_store
    if address is None:
        yield None
        return
    if address.startswith(_SQLITE) and address != _SQLITE:
        store = sqlite_head_store(address.removeprefix(_SQLITE))
    elif address.startswith(_POSTGRES):
        store = postgres_head_store(address)
    else:
        # It may hold a password.
        kind = address.partition(":")[0]
        raise ConfigError(
            f"{ROOT}.logging.head_store begins with {kind[:20]!a}, must be sqlite:FILE or postgresql://…"
        )
    try:
        yield store
    finally:
        store.close()
