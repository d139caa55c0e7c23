"""Draws the numbers of `proofs/companion.py`: the proved bound and contraction beside what was measured.

    python docs/figures/make_companion.py

Writes recursion.json and recursion.svg into this folder; both are the same on every run.
"""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from proofs.companion import FOLD, K_MAX, companion, exponent_bound, unstable_exponent

FOLDER = Path(__file__).parent
PROVED, MEASURED, DOWN = "#1b4f72", "#c0392b", "#e59866"


def draw(numbers: Any) -> Figure:
    """Return the figure: bound, contraction, fold."""
    figure = Figure(figsize=(11, 3.8), layout="constrained")
    bound, factor, fold = figure.subplots(1, 3)
    grid = numbers["grid"]
    gains = [row["loop_gain"] for row in grid]
    for axes, proved, measured, title, unit in (
        (bound, "kappa", "exponent_max", "T11: exponent stays below κ", "largest |λ·proj(I)|"),
        (factor, "factor_bound", "factor_max", "T12: runs contract per window", "factor per window"),
    ):
        axes.plot(gains, [row[proved] for row in grid], color=PROVED, label="proved bound")
        axes.plot(gains, [row[measured] for row in grid], "o", color=MEASURED, markersize=4, label="measured")
        axes.axvline(FOLD, color="grey", linestyle=":")
        if axes is bound:
            free = [row["exponent_free"] for row in grid]
            axes.plot(gains, free, "x", color=DOWN, markersize=5, label="measured, random α")
        axes.set(title=title, ylabel=unit, xlabel="largest loop gain c", xlim=(0, 0.4), ylim=(0, 1))
        axes.legend(loc="upper left", frameon=False)
    ramp = numbers["ramp"]
    below = [gain for gain in ramp["loop_gain"] if gain <= FOLD]
    fold.plot(below, [exponent_bound(gain) for gain in below], color=PROVED, label="fixed point")
    fold.plot(
        below, [unstable_exponent(gain) for gain in below], "--", color=PROVED, label="point of no return"
    )
    fold.plot(ramp["loop_gain"], ramp["up"], "^", color=MEASURED, markersize=4, label="c taken up")
    fold.plot(ramp["loop_gain"], ramp["down"], "v", color=DOWN, markersize=4, label="c taken back")
    fold.axvline(FOLD, color="grey", linestyle=":")
    fold.axhline(K_MAX, color="grey", linewidth=0.5)
    fold.set(title="the fold at 1/e", ylabel="exponent after 400 cycles", xlabel="loop gain c", yscale="log")
    fold.legend(loc="center right", frameon=False)
    return figure


def main() -> None:
    """Simulate, and write both files."""
    # Fixed ids, no date and text as text: the file depends on the numbers alone.
    mpl.rcParams.update({"svg.hashsalt": "recursion", "svg.fonttype": "none", "font.size": 9})
    numbers = companion()
    (FOLDER / "recursion.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    draw(numbers).savefig(FOLDER / "recursion.svg", metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
