"""The one screen of `status --watch`: what α is doing and why, redrawn with each cycle that a loop tells."""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from attunement.screen import Screen
from attunement.view import sparkline

_SPARK_WIDTH = 60
_DECISIONS_SHOWN = 6
_VERDICT_STYLE = {
    "committed": "green",
    "refused": "yellow",
    "reverted": "yellow",
    "retreated": "magenta",
    "latched": "bold red",
}


class WatchScreen:
    """Redraws one screen a cycle, until it is left.

    Args:
        console: A terminal.
        status: The loop's status, for what it is, and its limits until a policy is adopted.
        sentence: Puts a decision into words.
    """

    def __init__(
        self, console: Console, status: dict[str, Any], sentence: Callable[[dict[str, Any]], str]
    ) -> None:
        self._sentence = sentence
        self._run = status["run"]
        self._limits = status["limits"]
        self._alphas: deque[float] = deque(maxlen=_SPARK_WIDTH)
        self._coherences: deque[float] = deque(maxlen=_SPARK_WIDTH)
        self._decisions: deque[tuple[int, dict[str, Any]]] = deque(maxlen=_DECISIONS_SHOWN)
        self._dropped = 0
        self._screen = Screen(console)

    def __enter__(self) -> "WatchScreen":
        self._screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._screen.close()

    def tell(self, told: dict[str, Any]) -> None:
        """Take in one answer of the loop, and redraw."""
        if told["answer"] == "dropped":
            self._dropped += told["count"]
            return
        self._alphas.append(told["alpha"])
        if told["C_hat"] is not None:
            self._coherences.append(told["C_hat"])
        for decision in told["decisions"]:
            self._limits = decision.get("limits") or self._limits
            if decision["verdict"] != "held" or decision["said"]:
                self._decisions.append((told["cycle"], decision))
        # What is told first happened before.
        age_s = (datetime.now(UTC) - datetime.fromisoformat(told["time"])).total_seconds()
        self._screen.show(
            told["mode"].upper(),
            f"cycle {told['cycle']}  process {self._run['pid']}  optimizer {told['optimizer']}",
            Group(self._figures(told), Text(), self._decided()),
            max(0.0, age_s),
        )

    def _figures(self, told: dict[str, Any]) -> Table:
        limits, table = self._limits, Table.grid(padding=(0, 2))
        low, high = limits["alpha_min"], limits["alpha_max"]
        table.add_row("α", f"{told['alpha']:.6f}", sparkline(self._alphas, low, high), f"[{low:g}, {high:g}]")
        lambdas = "  ".join(f"{scale} {figure:.5f}" for scale, figure in told["lambda"].items())
        table.add_row("λ", "", lambdas or "unknown", "")
        if told["C_hat"] is None:
            table.add_row("Ĉ", "no reading", "", "", style="red")
        else:
            lowest, highest = min(self._coherences), max(self._coherences)
            spark = sparkline(self._coherences, lowest, highest)
            table.add_row("Ĉ", f"{told['C_hat']:.6f}", spark, f"{lowest:.4f} … {highest:.4f}")
            table.add_row(
                "entropy", f"{told['entropy_rate']:.6f}", "", f"≤ {limits['entropy_max']:g} a cycle"
            )
            table.add_row("H", f"{told['h_internal']:.6f}", "", f"≥ {limits['h_internal_min']:g}")
            table.add_row("loop gain", f"{told['loop_gain']:.6f}", "", f"≤ {limits['loop_gain_max']:.6f}")
            table.add_row("drive", f"{told['drive']:.6f}", "", f"≤ {limits['drive_max']:g}")
        table.add_row("time", "", told["time"], f"{self._dropped} not told" if self._dropped else "")
        return table

    def _decided(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for cycle, decision in self._decisions:
            style = _VERDICT_STYLE.get(decision["verdict"], "")
            line = Text(self._sentence(decision), style=style, overflow="ellipsis", no_wrap=True)
            table.add_row(str(cycle), line)
        return table
