"""What a person sees of a run: a live terminal view, a line a cycle, or JSON a cycle."""

import json
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from attunement.broken import sentences
from attunement.forecast import Forecast, Forecaster
from attunement.foreign import printable
from attunement.screen import Screen
from attunement.telemetry import CycleReport, adopted_limits
from attunement.telemetry_body import cycle_body
from kernel import Entry, Limits, Outcome
from kernel.quantity import to_float

_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 60
_BESIDE_SPARK = 46
_VERDICTS_SHOWN = 6
_OUTCOME_STYLE = {
    Outcome.COMMITTED: "green",
    Outcome.ACCEPTED: "cyan",
    Outcome.RETURNED: "cyan",
    Outcome.REFUSED: "yellow",
    Outcome.REVERTED: "yellow",
    Outcome.RETREATED: "magenta",
    Outcome.LATCHED: "bold red",
}


def sparkline(figures: Sequence[float], low: float, high: float) -> str:
    """Draw figures as block characters between two levels; what lies outside is drawn at the edge."""
    span = high - low
    if not span > 0:
        return _BLOCKS[0] * len(figures)
    last = len(_BLOCKS) - 1
    return "".join(_BLOCKS[min(last, max(0, round((figure - low) / span * last)))] for figure in figures)


def sentence(entry: Entry) -> str:
    """Say what was decided, and every limit that stood against it."""
    moved = ""
    if entry.after.alpha != entry.before.alpha:
        moved = f" α {to_float(entry.before.alpha):.6f} → {to_float(entry.after.alpha):.6f}"
    broken = "; ".join(sentences(entry.verdict))
    return f"{entry.event} {entry.verdict.outcome.value}{moved} ({printable(entry.reason)})" + (
        f": {broken}" if broken else ""
    )


def forecast_row(forecast: Forecast) -> tuple[str, str]:
    """Say what is expected, and how far such forecasts were off beside "it stays as it is"."""
    expected = "unknown" if forecast.expected is None else f"{forecast.expected:.6f}"
    if forecast.rms_error is None or forecast.naive_rms_error is None:
        return expected, ""
    return expected, f"± {forecast.rms_error:.6f} (unchanged: ± {forecast.naive_rms_error:.6f})"


class LiveView:
    """Redraws one screen a cycle.

    Args:
        console: A terminal.
        limits: Drawn beside the figures they limit, until a policy is adopted.
        total: Cycles of the run, None when it has no end.
        forecaster: Its newest forecast is shown, as far as it has come; None when nobody forecasts.
    """

    def __init__(
        self, console: Console, limits: Limits, total: int | None, forecaster: Forecaster | None = None
    ) -> None:
        self._console = console
        self._forecaster = forecaster
        self._limits = limits
        self._total = total
        self._done = 0
        self._alphas: deque[float] = deque(maxlen=_SPARK_WIDTH)
        self._coherences: deque[float] = deque(maxlen=_SPARK_WIDTH)
        self._verdicts: deque[tuple[int, Entry]] = deque(maxlen=_VERDICTS_SHOWN)
        self._counts: dict[Outcome, int] = {}
        self._screen = Screen(console)
        self._screen.start()

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle and redraw."""
        self._done += 1
        self._alphas.append(to_float(report.state.alpha))
        if report.measurement is not None:
            self._coherences.append(report.measurement.c_hat)
        for entry in report.entries:
            outcome = entry.verdict.outcome
            self._limits = adopted_limits(entry) or self._limits
            self._counts[outcome] = self._counts.get(outcome, 0) + 1
            if outcome is not Outcome.HELD or entry.verdict.broken:
                self._verdicts.append((report.state.cycle, entry))
        total = "" if self._total is None else f" of {self._total}"
        self._screen.show(
            report.state.mode.name,
            f"cycle {self._done}{total}  optimizer {report.optimizer_mode}",
            Group(self._figures(report), Text(), self._decisions()),
        )

    def close(self) -> None:
        """Leave the last screen standing."""
        self._screen.close()

    def _figures(self, report: CycleReport) -> Table:
        limits, alpha = self._limits, to_float(report.state.alpha)
        low, high = to_float(limits.alpha_min), to_float(limits.alpha_max)
        table = Table.grid(padding=(0, 2))
        # The newest figures are at the right: what finds no room is left out here, not cut off there.
        shown = max(1, min(_SPARK_WIDTH, self._console.width - _BESIDE_SPARK))
        alphas, coherences = list(self._alphas)[-shown:], list(self._coherences)[-shown:]
        table.add_row("α", f"{alpha:.6f}", sparkline(alphas, low, high), f"[{low:g}, {high:g}]")
        lambdas = "  ".join(f"{scale} {figure:.5f}" for scale, figure in report.lambdas.items())
        table.add_row("λ", "", lambdas or "unknown", "")
        if report.measurement is None:
            table.add_row("Ĉ", "no reading", "", "", style="red")
            return table
        figures = report.measurement
        lowest, highest = min(coherences), max(coherences)
        table.add_row(
            "Ĉ",
            f"{figures.c_hat:.6f}",
            sparkline(coherences, lowest, highest),
            f"{lowest:.4f} … {highest:.4f}",
        )
        table.add_row("dĈ/dα", "unknown" if report.gradient is None else f"{report.gradient:+.4f}", "", "")
        table.add_row(
            "entropy", f"{figures.entropy_rate:.6f}", "", f"≤ {to_float(limits.entropy_max):g} a cycle"
        )
        table.add_row("H", f"{figures.h_internal:.6f}", "", f"≥ {to_float(limits.h_internal_min):g}")
        gain = alpha * max(figures.loop_gain)
        table.add_row("loop gain", f"{gain:.6f}", "", f"≤ {to_float(limits.loop_gain_max):.6f}")
        drive = alpha * max(figures.drive)
        table.add_row("drive", f"{drive:.6f}", "", f"≤ {to_float(limits.drive_max):g}")
        if self._forecaster is not None:
            expected = self._forecaster.latest.figures
            table.add_row("next Ĉ", *forecast_row(expected["C_hat"]), "")
            table.add_row("next entropy", *forecast_row(expected["entropy_rate"]), "")
        return table

    def _decisions(self) -> Table:
        shown = (Outcome.COMMITTED, Outcome.RETURNED, Outcome.REVERTED, Outcome.REFUSED, Outcome.RETREATED)
        counts = "  ".join(f"{outcome.value} {self._counts.get(outcome, 0)}" for outcome in shown)
        table = Table.grid(padding=(0, 2))
        table.add_row("", Text(counts, style="bold"))
        for cycle, entry in self._verdicts:
            style = _OUTCOME_STYLE.get(entry.verdict.outcome, "")
            table.add_row(str(cycle), Text(sentence(entry), style=style, overflow="ellipsis", no_wrap=True))
        return table


class PlainView:
    """Prints a line a cycle."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle and print it."""
        figures = report.measurement
        measured = (
            "no reading"
            if figures is None
            else f"C {figures.c_hat:.6f} entropy {figures.entropy_rate:.6f} H {figures.h_internal:.6f}"
        )
        said = " | ".join(
            sentence(entry)
            for entry in report.entries
            if entry.verdict.outcome is not Outcome.HELD or entry.verdict.broken
        )
        alpha = to_float(report.state.alpha) if figures is None else figures.alpha
        line = f"cycle {report.state.cycle} alpha {alpha:.9f} {measured} {report.state.mode.name.lower()}"
        self._console.print(f"{line} {said}".rstrip(), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Nothing is left open."""


class JsonView:
    """Prints one JSON object a cycle; a figure that was not measured is null."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_report(self, report: CycleReport) -> None:
        """Take in one cycle and print it."""
        body = cycle_body(report)
        self._console.print(
            json.dumps(body, ensure_ascii=False, allow_nan=False),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def close(self) -> None:
        """Nothing is left open."""


View = LiveView | PlainView | JsonView
