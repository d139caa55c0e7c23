"""The ledger's series, read when they are asked for."""

import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger import Ledger

PATIENCE_S: Final = 1.0
"""How long a scrape waits for an append under way, seconds; one that takes longer counts as not writable."""

_HELP: Final = {
    "uhes_ledger_records": "Records that are durable.",
    "uhes_ledger_size_bytes": "What the ledger's records take in its journal, bytes.",
    "uhes_ledger_synced_timestamp_seconds": "Unix time of the newest record that is durable.",
    "uhes_ledger_writable": "1 if the ledger takes records, 0 if it is stopped or its disk hangs.",
    "uhes_ledger_free_bytes": "Free space where the ledger lies, bytes; 0 if nobody can tell.",
}


class LedgerCollector(Collector):
    """Five gauges of a ledger; zero until there is one to watch.

    Args:
        registry: Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._watched: tuple[Ledger, Path] | None = None
        registry.register(self)

    def watch(self, ledger: Ledger, folder: Path) -> None:
        """Show this ledger from now on."""
        self._watched = (ledger, folder)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges as they are now."""
        figures = (0.0,) * len(_HELP) if self._watched is None else _figures(*self._watched)
        for (name, text), figure in zip(_HELP.items(), figures, strict=True):
            yield GaugeMetricFamily(name, text, figure)


def _figures(ledger: Ledger, folder: Path) -> tuple[float, ...]:
    health = ledger.health(PATIENCE_S)
    synced_s = datetime.fromisoformat(health.timestamp).timestamp()
    return (health.records, health.size_bytes, synced_s, not health.stopped, _free_bytes(folder))


def _free_bytes(folder: Path) -> int:
    try:
        disk = os.statvfs(folder)
    except OSError:
        # As bad as a full disk: no record can be written to a folder that is not there.
        return 0
    return disk.f_bavail * disk.f_frsize
