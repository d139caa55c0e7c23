"""A recorded session under another policy or optimizer: what was, and what would have been.

What came in from outside, features and Ψ, is taken as it was recorded: it does not depend on α. What follows
from it, Ω, Ĉ, the entropy rate and H_internal, is computed anew by the engine's own recursion under the α of
the other policy. That the recursion is the recorded one is not believed but tried: under the recorded α it
has to give the recorded figures. What cannot be known is how the world outside would have answered another α.
"""

from math import inf, isfinite
from pathlib import Path
from typing import Any, Final

import attrs

from attunement.build import build_cal_engine
from attunement.config_schema import ROOT, Config, ConfigError
from attunement.dry_run import run_scratch, scratch_signers
from attunement.engine import CalEngine
from attunement.measurement import Sensors
from attunement.policy import kernel_limits
from attunement.recording import Recording
from attunement.telemetry import CycleReport
from kernel.quantity import to_float

TOLERANCE: Final = 1e-6
"""Largest difference to the recorded figures with which a recording counts as reproduced."""


class ReproductionError(Exception):
    """The engine does not give the recorded figures under the recorded α."""


@attrs.define
class Track:
    """One course of the session, a figure a cycle; None where nothing was measured. A subscriber."""

    name: str
    alphas: list[float] = attrs.field(factory=list)
    coherences: list[float | None] = attrs.field(factory=list)
    entropy_rates: list[float | None] = attrs.field(factory=list)
    h_internals: list[float | None] = attrs.field(factory=list)
    modes: list[str] = attrs.field(factory=list)
    decisions: dict[str, int] = attrs.field(factory=dict)

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle."""
        figures = report.measurement
        self.alphas.append(to_float(report.state.alpha))
        self.coherences.append(None if figures is None else figures.c_hat)
        self.entropy_rates.append(None if figures is None else figures.entropy_rate)
        self.h_internals.append(None if figures is None else figures.h_internal)
        self.modes.append(report.state.mode.name.lower())
        for entry in report.entries:
            self.count(entry.verdict.outcome.value)

    def count(self, verdict: str) -> None:
        """Count one decision."""
        self.decisions[verdict] = self.decisions.get(verdict, 0) + 1

    def summary(self, entropy_max: float, h_internal_min: float) -> dict[str, Any]:
        """Return the course in figures; a mean is None where nothing was measured."""
        measured = [
            (entropy, h)
            for entropy, h in zip(self.entropy_rates, self.h_internals, strict=True)
            if entropy is not None and h is not None
        ]
        coherences = [one for one in self.coherences if one is not None]
        return {
            "cycles": len(self.alphas),
            "mean_coherence": _mean(coherences),
            "mean_coherence_last_quarter": _mean(coherences[-max(len(coherences) // 4, 1) :]),
            "mean_alpha": _mean(self.alphas),
            "last_alpha": self.alphas[-1] if self.alphas else None,
            "cycles_beyond_limits": sum(
                not (entropy <= entropy_max and h >= h_internal_min) for entropy, h in measured
            ),
            "cycles_latched": sum(mode in ("frozen", "emergency") for mode in self.modes),
            "decisions": dict(sorted(self.decisions.items())),
        }


@attrs.frozen
class Counterfactual:
    """Three courses of one session.

    Attributes:
        recorded: As it was.
        held: With α held where the session began.
        other: Under the configuration that is asked about.
        reproduced_within: Largest difference between recorded figures and those of the engine under the
            recorded α.
        rows_compared: Rows that have recorded figures, which these are.
        said: What is recorded, what is computed, and what is not known; for those who look at it.
        entropy_max: Limit of the configuration that is asked about [1/cycle].
        h_internal_min: Another.
    """

    recorded: Track
    held: Track
    other: Track
    reproduced_within: float
    rows_compared: int
    said: tuple[str, ...]
    entropy_max: float
    h_internal_min: float

    @property
    def tracks(self) -> tuple[Track, Track, Track]:
        """The three."""
        return self.recorded, self.held, self.other

    def as_json(self) -> dict[str, Any]:
        """Figures and courses as JSON's types."""
        return {
            "reproduced_within": self.reproduced_within,
            "rows_compared": self.rows_compared,
            "said": list(self.said),
            "limits": {"entropy_max": self.entropy_max, "h_internal_min": self.h_internal_min},
            "tracks": {
                track.name: {
                    **track.summary(self.entropy_max, self.h_internal_min),
                    "alpha": track.alphas,
                    "C_hat": track.coherences,
                    "entropy_rate": track.entropy_rates,
                    "h_internal": track.h_internals,
                    "mode": track.modes,
                }
                for track in self.tracks
            },
        }


def compare(
    recording: Recording, config: Config, cycles: int | None, folder: Path, allow_unverified: bool = False
) -> Counterfactual:
    """Run a recorded session again: with α held, and as a configuration says.

    Limits, safety and optimizer are the configuration's; engine, objective and source are the recording's.

    Args:
        cycles: Only so many of the recorded cycles, None for all.
        folder: For ledgers and keys that are thrown away.

    Raises:
        ReproductionError: the engine does not give the recorded figures under the recorded α, or there are
            none.
        ConfigError: the α at which the session began lies outside the configuration's limits.
        Exception: as of `Attunement` and `run_cycles`.
    """
    recording = attrs.evolve(recording, rows=recording.rows[:cycles])
    within, compared = reproduced(recording)
    if not compared > 0:
        raise ReproductionError(
            f"{recording.path}: 0 of {len(recording.rows)} rows have figures to compare, must be at least 1: "
            "whether the engine gives them cannot be tried"
        )
    if not within <= TOLERANCE:
        raise ReproductionError(
            f"{recording.path}: under the recorded α the engine's figures differ by up to {within:.3g}, "
            f"must be at most {TOLERANCE:g}: what would have been under another α cannot be computed from it"
        )
    config, header = _as_recorded(recording, config), recording.header
    signers = scratch_signers(folder, config.logging.origin)
    held, other = Track("held"), Track("other")
    still = attrs.evolve(config, optimizer=attrs.evolve(config.optimizer, name="hold", settings={}))
    for track, asked in ((held, still), (other, config)):
        engine = build_cal_engine(asked, recording.source())
        place = folder / track.name
        run_scratch(asked, engine, len(recording.rows), place, signers, (track,), allow_unverified)
    name = config.optimizer.name if config.enabled else "hold"
    said = (
        f"recorded: α, Ĉ, entropy rate and H as they were, under {header.optimizer}.",
        f"held and other: α of {name} under the configuration's limits, judged by the kernel; Ω, Ĉ, entropy "
        "rate and H computed by the engine's recursion from the recorded features and Ψ.",
        f"Under the recorded α this recursion gives the recorded figures {_as_near(within)}, compared in "
        f"{compared} of {len(recording.rows)} rows.",
        "Not known: how the system behind the features would itself have answered another α. If it reacts to "
        "α, by load or users say, this is not what would have happened.",
    )
    safety = config.safety
    return Counterfactual(
        _recorded(recording), held, other, within, compared, said, safety.entropy_max, safety.h_internal_min
    )


def reproduced(recording: Recording) -> tuple[float, int]:
    """Run the engine under the recorded α.

    Returns:
        The largest difference to the recorded figures, and in how many rows there were any.
    """
    header, first = recording.header, recording.rows[0]
    engine = CalEngine(recording.source(), header.engine, k_max=header.k_max, alpha=first.engine_alpha)
    sensors = Sensors(engine, header.objective.coherence_window, header.objective.rho, 0)
    largest, compared = 0.0, 0
    for row in recording.rows:
        engine.set_alpha_multiplier(row.engine_alpha)
        engine.run_cycle()
        figures = sensors.measure()
        if row.c_hat is None or row.entropy_rate is None or row.h_internal is None:
            continue
        compared += 1
        for difference in (
            row.c_hat - figures.c_hat,
            row.entropy_rate - figures.entropy_rate,
            row.h_internal - figures.h_internal,
        ):
            largest = _larger(largest, abs(difference))
    return largest, compared


def _larger(largest: float, difference: float) -> float:
    # max() would pass NaN over.
    return max(largest, difference) if isfinite(difference) else inf


def _as_near(within: float) -> str:
    return "exactly" if within == 0 else f"within {within:.1g}"


def _as_recorded(recording: Recording, config: Config) -> Config:
    alpha = recording.rows[0].engine_alpha
    if not config.alpha_min <= alpha <= config.alpha_max:
        raise ConfigError(
            f"{recording.path} begins at α = {alpha:.9g}, must lie in [{config.alpha_min:g}, "
            f"{config.alpha_max:g}] ({ROOT}.alpha_min to {ROOT}.alpha_max)"
        )
    header = recording.header
    # The memory of an optimizer that ran would know what the recording is about to show.
    optimizer = attrs.evolve(config.optimizer, memory_path=None)
    config = attrs.evolve(
        config,
        alpha_initial=alpha,
        settle_delay=0.0,
        engine=header.engine,
        objective=header.objective,
        optimizer=optimizer,
    )
    kernel_limits(config)
    return config


def _recorded(recording: Recording) -> Track:
    track = Track("recorded")
    for row in recording.rows:
        track.alphas.append(row.alpha)
        track.coherences.append(row.c_hat)
        track.entropy_rates.append(row.entropy_rate)
        track.h_internals.append(row.h_internal)
        track.modes.append(row.mode)
        for decision in row.decisions:
            track.count(decision.rpartition(" ")[2])
    return track


def _mean(figures: list[float]) -> float | None:
    return sum(figures) / len(figures) if figures else None
