"""A counterfactual drawn: as a picture (extra `plot`), or as a page that needs no network."""

import html
from pathlib import Path
from typing import Any, Final

from attunement.counterfactual import Counterfactual, Track

_COLOURS: Final = {"recorded": "#5b6770", "held": "#d98e04", "other": "#1f6fb2"}
_DASHES: Final = {"recorded": ("solid", "solid"), "held": ("dashed", "dash"), "other": ("solid", "solid")}
_LABELS: Final = {"recorded": "as recorded", "held": "α held", "other": "under this configuration"}
_PANELS: Final = ("α", "Ĉ", "entropy rate [1/cycle]", "H_internal")


class PlotError(Exception):
    """A drawing cannot be made."""


def draw_png(told: Counterfactual, path: Path) -> None:
    """Draw to a PNG file.

    Raises:
        PlotError: the extra `plot` is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PlotError(
            f"{path} needs matplotlib: pip install 'lambda-attunement[plot]', or take --html"
        ) from error
    figure = Figure(figsize=(10, 10), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(_PANELS), 1, sharex=True)
    for panel, title, index in zip(panels, _PANELS, range(len(_PANELS)), strict=True):
        for track in told.tracks:
            figures = [_nan(one) for one in _courses(track)[index]]
            cycles = range(1, len(figures) + 1)
            style = _DASHES[track.name][0]
            panel.plot(
                cycles, figures, color=_COLOURS[track.name], linestyle=style, label=_LABELS[track.name]
            )
        limit = _limit(told, index)
        if limit is not None:
            panel.axhline(limit, color="#b3261e", linewidth=0.8, label="limit")
        panel.set_ylabel(title)
        panel.grid(alpha=0.3)
    panels[0].legend(loc="best", fontsize="small")
    panels[-1].set_xlabel("cycle")
    figure.text(0.01, -0.01, "\n".join(told.said), fontsize=7, va="top", wrap=True)
    try:
        figure.savefig(path, format="png", dpi=110, bbox_inches="tight")
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}") from error


def draw_html(told: Counterfactual, path: Path) -> None:
    """Draw to an HTML file that holds its own script, and asks no network for anything.

    Raises:
        PlotError: the file cannot be written.
    """
    # Imported here: it takes longer to load than most commands run.
    from plotly.subplots import make_subplots

    figure: Any = make_subplots(len(_PANELS), 1, shared_xaxes=True, vertical_spacing=0.03)
    for index, title in enumerate(_PANELS):
        for track in told.tracks:
            figures = _courses(track)[index]
            figure.add_scatter(
                x=list(range(1, len(figures) + 1)),
                y=figures,
                mode="lines",
                name=_LABELS[track.name],
                legendgroup=track.name,
                showlegend=index == 0,
                line={"color": _COLOURS[track.name], "dash": _DASHES[track.name][1]},
                row=index + 1,
                col=1,
            )
        limit = _limit(told, index)
        if limit is not None:
            figure.add_hline(limit, line={"color": "#b3261e", "width": 1}, row=index + 1, col=1)
        figure.update_yaxes(title_text=title, row=index + 1, col=1)
    figure.update_xaxes(title_text="cycle", row=len(_PANELS), col=1)
    figure.update_layout(height=1000, template="plotly_white", hovermode="x unified")
    drawn = figure.to_html(full_html=False, include_plotlyjs=True)
    said = "".join(f"<li>{html.escape(line)}</li>" for line in told.said)
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Counterfactual</title></head>'
        f'<body style="font-family:sans-serif"><h1>Counterfactual</h1><ul>{said}</ul>{drawn}</body></html>'
    )
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise PlotError(f"{path} cannot be written: {error.strerror or error}") from error


def _courses(track: Track) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    return track.alphas, track.coherences, track.entropy_rates, track.h_internals


def _limit(told: Counterfactual, index: int) -> float | None:
    return (None, None, told.entropy_max, told.h_internal_min)[index]


def _nan(figure: float | None) -> float:
    return float("nan") if figure is None else figure
