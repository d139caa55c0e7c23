"""Where the configuration has the ledger's head kept: a row outside of the folder, which one writer owns."""

from collections.abc import Iterator
from contextlib import contextmanager

from attunement.config_schema import SQLITE, Config
from ledger import HeadStore, postgres_head_store, sqlite_head_store


@contextmanager
def configured_head_store(config: Config) -> Iterator[HeadStore | None]:
    """Open the configured store for as long as the block runs; None if there is none.

    Raises:
        HeadStoreError: it cannot be opened.
    """
    address = config.logging.head_store
    if address is None:
        yield None
        return
    if address.startswith(SQLITE):
        store = sqlite_head_store(address.removeprefix(SQLITE))
    else:
        store = postgres_head_store(address)
    try:
        yield store
    finally:
        store.close()
