"""Draws panels of dashboard.json from a Prometheus: the same queries, without a Grafana server.

`python docs/monitoring/draw_panels.py` starts a run with a storm and a Prometheus that scrapes it, and writes
docs/figures/panel_*.svg.
"""

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

from monitoring_bench import Stack, as_asked, dashboard, monitored, wait_for  # noqa: E402

FIGURES = ROOT / "docs" / "figures"
SECONDS = 60.0
GRADIENT_PANEL, COHERENCE_PANEL = 14, 12
DRAWN = {10: "alpha", 11: "lambda", COHERENCE_PANEL: "coherence", 13: "decisions", GRADIENT_PANEL: "gradient"}


def named(legend: str, labels: dict[str, str]) -> str:
    """Fill labels into a legend's format."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return legend


def series(stack: Stack, panel: dict[str, Any]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return name, seconds before now and figures of each series of a panel."""
    now_s, found = time.time(), []
    for target in panel["targets"]:
        for one in stack.query_range(as_asked(target["expr"]), SECONDS):
            points = np.array([(float(at) - now_s, float(figure)) for at, figure in one["values"]])
            found.append((named(target["legendFormat"], one["metric"]), points[:, 0], points[:, 1]))
    return found


def draw_lines(axes: Axes, found: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Draw lines; a limit is dashed and red, as in Grafana."""
    for name, seconds, figures in found:
        style = {"color": "tab:red", "linestyle": "--"} if name.endswith("limit") else {}
        axes.plot(seconds, figures, label=name, **style)
    axes.legend(loc="best", fontsize=8)


def draw_bars(axes: Axes, found: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Draw stacked bars, a bar for each second."""
    base: dict[float, float] = {}
    for name, seconds, figures in found:
        at = np.round(seconds)
        axes.bar(at, figures, bottom=[base.get(second, 0.0) for second in at], label=name)
        for second, figure in zip(at, figures, strict=True):
            base[second] = base.get(second, 0.0) + figure
    axes.legend(loc="best", fontsize=8)


def draw_heatmap(axes: Axes, found: list[tuple[str, np.ndarray, np.ndarray]]) -> None:
    """Count a gauge's figures into 60 by 24 buckets, as the panel has Grafana do."""
    _, seconds, figures = found[0]
    _, _, _, image = axes.hist2d(seconds, figures, bins=(60, 24), cmap="viridis", rasterized=True)
    axes.figure.colorbar(image, ax=axes, label="samples")
    axes.set_ylabel("dJ/dα")


def mark_changes(axes: Axes, stack: Stack) -> None:
    """Mark changes of α, as the dashboard's annotation does."""
    (expression,) = [one["expr"] for one in dashboard()["annotations"]["list"] if one["name"] == "α changed"]
    now_s = time.time()
    # A change within the last second, so that the mark stands where it happened.
    narrow = expression.replace("$__rate_interval", "2s")
    for one in stack.query_range(as_asked(narrow), SECONDS):
        for at, _ in one["values"]:
            axes.axvline(float(at) - now_s, color="tab:blue", alpha=0.25, linewidth=1)


def draw(stack: Stack, panel: dict[str, Any], path: Path) -> None:
    """Draw one panel into a file."""
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    found = series(stack, panel)
    if panel["type"] == "heatmap":
        draw_heatmap(axes, found)
    elif panel["fieldConfig"]["defaults"]["custom"].get("drawStyle") == "bars":
        draw_bars(axes, found)
    else:
        draw_lines(axes, found)
    if panel["id"] == COHERENCE_PANEL:
        mark_changes(axes, stack)
    axes.set_title(panel["title"])
    axes.set_xlabel("seconds before now")
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    """Run, wait for the storm, and draw."""
    mpl.rcParams["svg.hashsalt"] = "lambda-attunement"
    with tempfile.TemporaryDirectory(prefix="panels-") as folder, monitored(Path(folder)) as stack:
        wait_for(lambda: stack.value('uhes_kernel_mode{mode="emergency"}') == 1.0, "the storm")
        time.sleep(8)
        for panel in dashboard()["panels"]:
            if panel["id"] in DRAWN:
                draw(stack, panel, FIGURES / f"panel_{DRAWN[panel['id']]}.svg")


if __name__ == "__main__":
    main()
