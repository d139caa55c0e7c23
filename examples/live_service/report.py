"""The figures of a campaign as a page and a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from examples.live_service.campaign import Figures, Plan, Round

GOODPUT_SHARE_MIN = 0.95
ATTUNED, FIXED, HELD = "#1b4f72", "#e59866", "#c0392b"


def accepted(one: Round) -> dict[str, bool]:
    """Say what of the acceptance holds in one round.

    The p99 is compared over the measured phases, with 5 % for the noise of one percentile of a run.
    """
    best, attuned = one.fixed[one.best], one.attuned.figures
    return {
        "goodput": attuned.goodput >= GOODPUT_SHARE_MIN * best.goodput,
        "p99": attuned.p99_s <= 1.05 * best.p99_s,
        "ledger": one.attuned.verdict == "verified",
    }


def page(rounds: Sequence[Round], plan: Plan) -> str:
    """Return the report as Markdown."""
    lines = [
        "# A live service, before and after",
        "",
        f"Load: {plan.before[0]:g} requests/s of {plan.before[1]} items, then a step to {plan.after[0]:g}/s "
        f"of {plan.after[1]}. Every row of a round bears the same seed of load. Goodput is what clients got "
        "in time, the mean of both phases; p99 is over the requests that were admitted.",
        "",
    ]
    for number, one in enumerate(rounds, 1):
        lines += _round(number, one)
    return "\n".join([*lines, *_summary(rounds), ""])


def draw(rounds: Sequence[Round], plan: Plan) -> Figure:
    """Return the picture: α and goodput of every attuned run, and all settings side by side."""
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    (alphas, compared), (goodputs, latencies) = figure.subplots(2, 2)
    step_s = plan.warm_s + plan.attuned_s
    for one in rounds:
        times, trace, goodput = zip(*one.attuned.trace, strict=True)
        alphas.plot(times, trace, color=ATTUNED, alpha=0.7)
        goodputs.plot(times, goodput, color=ATTUNED, alpha=0.4, linewidth=0.8)
    for axes in (alphas, goodputs):
        axes.axvline(plan.warm_s, color="grey", linestyle=":")
        axes.axvline(step_s, color=HELD, linestyle="--")
        axes.set_xlabel("time [s]; dashed: the load step")
    for axes, value, unit in (
        (compared, lambda figures: figures.goodput, "goodput [1/s]"),
        (latencies, lambda figures: 1000 * figures.p99_s, "p99 [ms]"),
    ):
        _bars(axes, rounds, value, unit)
    alphas.set(title="α of the attuned runs", ylabel="α")
    goodputs.set(title="goodput of the attuned runs, a window each", ylabel="goodput [1/s]")
    return figure


def write(rounds: Sequence[Round], plan: Plan, folder: Path) -> None:
    """Write page and picture into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    mpl.rcParams.update({"font.size": 9})
    (folder / "live_service_report.md").write_text(page(rounds, plan), encoding="utf-8")
    draw(rounds, plan).savefig(folder / "live_service.png", dpi=110, metadata={"Software": None})


def _round(number: int, one: Round) -> list[str]:
    attuned = one.attuned
    rows = [
        _row(f"α = {alpha:g} fixed{', the best' if alpha == one.best else ''}", figures)
        for alpha, figures in one.fixed.items()
    ]
    outcomes = ", ".join(f"{name} {count}" for name, count in attuned.outcomes.items())
    return [
        f"## Round {number}",
        "",
        "| setting | goodput [1/s] | before the step | after it | p99 [ms] | in time of admitted |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
        *rows,
        _row(f"**attuned**, α {attuned.trace[0][1]:g} → {attuned.trace[-1][1]:.3f}", attuned.figures),
        "",
        f"Warm-up from α = 1: goodput {attuned.warm[0]:.1f}/s, p99 {1000 * attuned.warm[1]:.0f} ms. "
        f"Ledger: {attuned.verdict}, {attuned.records} records; {outcomes}.",
        "",
        *(f"    {line}" for line in attuned.baseline.to_yaml().splitlines()),
        "",
    ]


def _row(name: str, figures: Figures) -> str:
    first, second = figures.goodputs
    return (
        f"| {name} | {figures.goodput:.1f} | {first:.1f} | {second:.1f} | {1000 * figures.p99_s:.0f} | "
        f"{figures.success:.1%} |"
    )


def _summary(rounds: Sequence[Round]) -> list[str]:
    lines = [
        "## Acceptance",
        "",
        "| round | share of the best fixed | goodput ≥ best fixed − 5 % | p99 no worse (±5 %) | ledger |",
        "| --- | ---: | --- | --- | --- |",
    ]
    for number, one in enumerate(rounds, 1):
        share = one.attuned.figures.goodput / one.fixed[one.best].goodput
        p99 = one.attuned.figures.p99_s / one.fixed[one.best].p99_s
        held = {name: "yes" if holds else "**no**" for name, holds in accepted(one).items()}
        lines.append(
            f"| {number} | ×{share:.3f} | {held['goodput']} | {held['p99']}, ×{p99:.3f} | {held['ledger']} |"
        )
    gain = fmean(one.attuned.figures.goodput / one.fixed[1.0].goodput for one in rounds if 1.0 in one.fixed)
    return [*lines, "", f"Against α = 1 held the attuned goodput is ×{gain:.2f}, the mean of the rounds."]


def _bars(axes: Axes, rounds: Sequence[Round], value: Callable[[Figures], float], unit: str) -> None:
    alphas = list(rounds[0].fixed)
    means = [fmean(value(one.fixed[alpha]) for one in rounds) for alpha in alphas]
    attuned = [value(one.attuned.figures) for one in rounds]
    names = [f"{alpha:g}" for alpha in alphas]
    axes.bar(names, means, color=[HELD if alpha == 1.0 else FIXED for alpha in alphas])
    axes.bar(["attuned"], [fmean(attuned)], color=ATTUNED)
    axes.plot(["attuned"] * len(attuned), attuned, "k_")
    for index, alpha in enumerate(alphas):
        axes.plot([names[index]] * len(rounds), [value(one.fixed[alpha]) for one in rounds], "k_")
    axes.set(title=f"{unit}: α fixed, and attuned (lines: single rounds)", ylabel=unit)
