"""What attunement would do, beside holding α: two runs of the same configuration in a scratch folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

import attrs

from attunement.assembly import Attunement, persisted_alpha
from attunement.build import build_engine
from attunement.config_schema import ROOT, Config, ConfigError
from attunement.engine import CalEngine
from attunement.prometheus_engine import PrometheusEngine
from attunement.running import run_cycles
from attunement.telemetry import CycleReport, Subscriber
from kernel import Outcome
from kernel.quantity import to_float
from ledger import NoteSigner, Signers, generate

DRY_RUN_CYCLES = 400


@attrs.define
class Tally:
    """Counts over one run; means are over its last quarter."""

    total: int
    seen: int = 0
    coherences: list[float] = attrs.field(factory=list)
    alphas: list[float] = attrs.field(factory=list)
    outcomes: dict[Outcome, int] = attrs.field(factory=dict)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        self.seen += 1
        for entry in report.entries:
            self.outcomes[entry.verdict.outcome] = self.outcomes.get(entry.verdict.outcome, 0) + 1
        if report.measurement is None or not self.seen > self.total - max(self.total // 4, 1):
            return
        self.coherences.append(report.measurement.c_hat)
        self.alphas.append(report.measurement.alpha)

    def count(self, outcome: Outcome) -> int:
        """How often an outcome came."""
        return self.outcomes.get(outcome, 0)


@attrs.frozen
class RunFigures:
    """One run in figures; means are over its last quarter, None when nothing was measured there."""

    mean_coherence: float | None
    mean_alpha: float | None
    committed: int
    reverted: int
    refused: int
    retreated: int
    latched: int


@attrs.frozen
class Compared:
    """Two runs on the same features: α held at its initial value, and attuned."""

    held: RunFigures
    attuned: RunFigures

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Names and figures for a table."""
        for field in attrs.fields(RunFigures):
            yield (
                field.name,
                _shown(getattr(self.held, field.name)),
                _shown(getattr(self.attuned, field.name)),
            )


def compare_with_hold(config: Config, cycles: int, folder: Path, allow_unverified: bool = False) -> Compared:
    """Run the configuration twice, with ledgers and keys of their own in folder.

    Both begin at the α that the configured ledger says was persisted, if there is one in its limits.

    Raises:
        ConfigError: the engine is a live system, which a dry run would move.
        Exception: as of `Attunement` and `run_cycles`.
    """
    if config.engine.kind != "cal":
        raise ConfigError(
            f"{ROOT}.engine.kind is {config.engine.kind}, must be cal: a dry run would move a live system"
        )
    persisted = persisted_alpha(Path(config.logging.audit_ledger_path))
    if persisted is not None and config.alpha_min <= to_float(persisted.alpha) <= config.alpha_max:
        config = attrs.evolve(config, alpha_initial=to_float(persisted.alpha))
    signers = scratch_signers(folder, config.logging.origin)
    optimizer = attrs.evolve(config.optimizer, name="hold")
    held = _run(attrs.evolve(config, optimizer=optimizer), cycles, folder / "held", signers, allow_unverified)
    return Compared(held, _run(config, cycles, folder / "attuned", signers, allow_unverified))


def run_scratch(
    config: Config,
    engine: CalEngine | PrometheusEngine,
    cycles: int,
    ledger_path: Path,
    signers: Signers,
    subscribers: Sequence[Subscriber],
    allow_unverified: bool,
) -> None:
    """Attune an engine as a configuration says, with a ledger of its own, and nobody told of alerts.

    Raises:
        Exception: as of `Attunement` and `run_cycles`.
    """
    logging = attrs.evolve(config.logging, audit_ledger_path=str(ledger_path))
    escalation = attrs.evolve(config.governance.escalation, command=None)
    governance = attrs.evolve(config.governance, escalation=escalation, predecessor=None)
    scratch = attrs.evolve(config, logging=logging, governance=governance)
    with Attunement(
        scratch, engine, signers, subscribers=subscribers, allow_unverified=allow_unverified
    ) as attunement:
        attunement.controller.start()
        run_cycles(engine, cycles, 0.0, Event(), lambda: None)


def scratch_signers(folder: Path, origin: str) -> Signers:
    """Make keys in a folder for ledgers that are thrown away."""
    records, log = (generate(folder / name, folder / f"{name}.pub") for name in ("key", "log-key"))
    return Signers(records, NoteSigner(origin, log))


def _run(
    config: Config, cycles: int, ledger_path: Path, signers: Signers, allow_unverified: bool
) -> RunFigures:
    tally = Tally(cycles)
    run_scratch(config, build_engine(config), cycles, ledger_path, signers, (tally,), allow_unverified)
    return RunFigures(
        mean_coherence=_mean(tally.coherences),
        mean_alpha=_mean(tally.alphas),
        committed=tally.count(Outcome.COMMITTED),
        reverted=tally.count(Outcome.REVERTED),
        refused=tally.count(Outcome.REFUSED),
        retreated=tally.count(Outcome.RETREATED),
        latched=tally.count(Outcome.LATCHED),
    )


def _mean(figures: list[float]) -> float | None:
    return sum(figures) / len(figures) if figures else None


def _shown(figure: float | None) -> str:
    if figure is None:
        return "unknown"
    return f"{figure:.6f}" if isinstance(figure, float) else str(figure)
