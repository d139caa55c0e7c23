"""The engine that a configuration describes."""

import time
from collections.abc import Callable
from pathlib import Path

from attunement.config_schema import Config
from attunement.engine import CalEngine
from attunement.host import HostSource
from attunement.prometheus_engine import PrometheusEngine
from attunement.simulator import SimulatedSource
from attunement.sources import FeatureSource
from attunement.trace import TraceSource


def build_engine(
    config: Config, wait: Callable[[float], object] = time.sleep
) -> CalEngine | PrometheusEngine:
    """Build the configured engine, with α at ``alpha_initial``.

    Args:
        config: The configuration.
        wait: Waits so many seconds, and says whether nobody wants a further cycle.

    Raises:
        TraceError: The trace's files cannot be used.
    """
    if config.engine.kind == "prometheus":
        return PrometheusEngine(config.prometheus, config.engine.c_ref, config.alpha_initial, wait=wait)
    return build_cal_engine(config, build_source(config))


def build_cal_engine(config: Config, source: FeatureSource) -> CalEngine:
    """Build the CAL engine on a source of features, with α at ``alpha_initial``."""
    return CalEngine(source, config.engine, k_max=config.safety.k_max, alpha=config.alpha_initial)


def build_source(config: Config) -> FeatureSource:
    """Build the feature source.

    Raises:
        TraceError: The trace's files cannot be used.
    """
    source = config.source
    if source.kind == "host":
        return HostSource(source.psi)
    if source.folder is not None and source.kind == "trace":
        return TraceSource(Path(source.folder), source.window, psi=source.psi, repeat=source.repeat)
    return SimulatedSource(source.nodes, source.dims, source.psi, source.noise, source.seed, source.shocks)
