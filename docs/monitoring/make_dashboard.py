"""The Grafana dashboard as code: `python docs/monitoring/make_dashboard.py` writes dashboard.json beside it.

A panel's id is its own for ever: links and annotations name it. Ids are written out, never counted.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models import heatmap as heatmap_model
from grafana_foundation_sdk.models import prometheus as prometheus_model

OUT = Path(__file__).with_name("dashboard.json")
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
HERE = 'instance=~"$instance"'
GREEN, BLUE, ORANGE, RED, GREY = "green", "blue", "orange", "red", "text"
WIDTH, HEIGHT = 12, 8

Panel = timeseries.Panel | heatmap.Panel | statetimeline.Panel | stat.Panel
Query = tuple[str, str]
"""A PromQL expression, and what its series are called in the legend."""


def limit(name: str) -> str:
    """Return the query for one limit in force."""
    return f'uhes_limit{{limit="{name}", {HERE}}}'


def placed(
    panel: Panel, number: int, title: str, about: str, queries: Sequence[Query], at: model.GridPos
) -> Panel:
    """Give a panel its identity, its place and its queries, with ref ids A, B, C, …"""
    panel.id(number).title(title).description(about).datasource(SOURCE).grid_pos(at)
    for index, (expression, legend) in enumerate(queries):
        panel.with_target(
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + index))
            .datasource(SOURCE)
            .expr(expression)
            .legend_format(legend)
            .format(prometheus_model.PromQueryFormat.TIME_SERIES)
            .range()
        )
    return panel


def limit_style() -> list[model.DynamicConfigValue]:
    """Return how a limit is drawn: a dashed red line, never filled."""
    return [
        model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED}),
        model.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
        model.DynamicConfigValue("custom.fillOpacity", 0),
    ]


def lines(unit: str = "none", decimals: int = 4) -> timeseries.Panel:
    """Return a panel of lines in which series called a limit are drawn as limits."""
    return (
        timeseries.Panel()
        .unit(unit)
        .decimals(decimals)
        .line_width(2)
        .fill_opacity(0)
        .show_points(common.VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            look.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(look.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.NONE))
        .override_by_regexp("/limit$/", limit_style())
    )


def bars() -> timeseries.Panel:
    """Return a panel of stacked bars: what happened in each interval."""
    return (
        lines("short", 0)
        .draw_style(common.GraphDrawStyle.BARS)
        .line_width(0)
        .fill_opacity(80)
        .stacking(look.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    )


def coloured(panel: timeseries.Panel, colours: dict[str, str]) -> timeseries.Panel:
    """Fix the colours of series by their name."""
    for name, colour in colours.items():
        fixed = model.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})
        panel.override_by_name(name, [fixed])
    return panel


def valued(states: dict[str, tuple[str, str]]) -> list[model.ValueMapping]:
    """Return the words and colours for figures that stand for states."""
    options = {
        figure: model.ValueMappingResult(text=text, color=colour, index=int(figure))
        for figure, (text, colour) in states.items()
    }
    return [model.ValueMap(options=options)]


def gradient_heatmap() -> heatmap.Panel:
    """Return a heatmap of a gauge's own figures, counted into buckets by Grafana."""
    return (
        heatmap.Panel()
        .calculate(True)
        .calculation(
            look.HeatmapCalculationOptions()
            .x_buckets(
                look.HeatmapCalculationBucketConfig().mode(common.HeatmapCalculationMode.COUNT).value("60")
            )
            .y_buckets(
                look.HeatmapCalculationBucketConfig().mode(common.HeatmapCalculationMode.COUNT).value("24")
            )
        )
        .color(
            heatmap.HeatmapColorOptions()
            .mode(heatmap_model.HeatmapColorMode.SCHEME)
            .scheme("Viridis")
            .steps(32)
            .fill("dark-blue")
        )
        .show_legend()
    )


def timeline(states: dict[str, tuple[str, str]]) -> statetimeline.Panel:
    """Return a band whose colour is the state."""
    return (
        statetimeline.Panel()
        .mappings(valued(states))
        .merge_values(True)
        .show_value(common.VisibilityMode.AUTO)
        .row_height(0.9)
    )


def number(mapping: dict[str, tuple[str, str]], unit: str = "none") -> stat.Panel:
    """Return a single figure, coloured by what it stands for."""
    return (
        stat.Panel()
        .unit(unit)
        .mappings(valued(mapping))
        .color_mode(common.BigValueColorMode.BACKGROUND)
        .graph_mode(common.BigValueGraphMode.NONE)
        .reduce_options(look.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
    )


MODE = (
    "sum without (mode) ("
    f'uhes_kernel_mode{{mode="ready", {HERE}}} * 0 or uhes_kernel_mode{{mode="trial", {HERE}}} * 1 or '
    f'uhes_kernel_mode{{mode="frozen", {HERE}}} * 2 or uhes_kernel_mode{{mode="emergency", {HERE}}} * 3)'
)
MODES = {"0": ("ready", GREEN), "1": ("trial", BLUE), "2": ("frozen", ORANGE), "3": ("emergency", RED)}
METHODS = {"0": ("idle", GREY), "1": ("gradient", GREEN), "2": ("pid", BLUE), "3": ("emergency", RED)}
YES_NO = {"0": ("no", RED), "1": ("yes", GREEN)}


def panels() -> list[Panel]:
    """Return every panel, from what is asked first to what is asked last."""

    def left(row: int) -> model.GridPos:
        return model.GridPos(h=HEIGHT, w=WIDTH, x=0, y=4 + row * HEIGHT)

    def right(row: int) -> model.GridPos:
        return model.GridPos(h=HEIGHT, w=WIDTH, x=WIDTH, y=4 + row * HEIGHT)

    def top(place: int) -> model.GridPos:
        return model.GridPos(h=4, w=4, x=4 * place, y=0)

    return [
        placed(number(MODES), 1, "Mode", "What may move α now.", [(MODE, "mode")], top(0)),
        placed(number({}), 2, "α", "α in force.", [(f"uhes_alpha_value{{{HERE}}}", "α")], top(1)),
        placed(
            number({}), 3, "Ĉ", "Coherence of the newest reading.", [(f"uhes_C_hat{{{HERE}}}", "Ĉ")], top(2)
        ),
        placed(
            number(YES_NO),
            4,
            "Kernel proved",
            "Is the kernel that runs the one that the certificate speaks of?",
            [(f"uhes_kernel_verified{{{HERE}}}", "verified")],
            top(3),
        ),
        placed(
            number(YES_NO),
            5,
            "Ledger writable",
            "No: nothing is applied any more.",
            [(f"uhes_ledger_writable{{{HERE}}}", "writable")],
            top(4),
        ),
        placed(
            number({}, "s"),
            6,
            "Age of the reading",
            "Figures on this page are as old as this.",
            [(f"uhes:reading_age:seconds{{{HERE}}}", "age")],
            top(5),
        ),
        placed(
            lines(),
            10,
            "α(t)",
            "α in force between its limits. It moves by at most delta_alpha_max in one event.",
            [
                (f"uhes_alpha_value{{{HERE}}}", "α"),
                (limit("alpha_min"), "alpha_min limit"),
                (limit("alpha_max"), "alpha_max limit"),
            ],
            left(0),
        ),
        placed(
            lines(),
            11,
            "λ(t, L)",
            "λ_base(L)·α(t) at each scale.",
            [(f"uhes_lambda_value{{{HERE}}}", "{{L}}")],
            right(0),
        ),
        placed(
            coloured(lines(), {"expected": GREY}),
            12,
            "Ĉ(t) and its forecast",
            "Coherence as measured, and as foretold one cycle ahead; changes of α are marked.",
            [
                (f"uhes_C_hat{{{HERE}}}", "Ĉ"),
                (
                    f'uhes_forecast{{figure="C_hat", {HERE}}} and '
                    f'uhes_forecast_ready{{figure="C_hat", {HERE}}} == 1',
                    "expected",
                ),
            ],
            left(1),
        ),
        placed(
            coloured(bars(), {"accepted": GREEN, "reverted": ORANGE, "refused": RED, "retreated": "purple"}),
            13,
            "Accepted, reverted, refused, retreated",
            "What became of trials and proposals in each interval.",
            [
                (f"increase(uhes_alpha_accept_total{{{HERE}}}[$__rate_interval])", "accepted"),
                (f"increase(uhes_alpha_revert_total{{{HERE}}}[$__rate_interval])", "reverted"),
                (f"increase(uhes_alpha_refused_total{{{HERE}}}[$__rate_interval])", "refused"),
                (
                    f'increase(uhes_decisions_total{{verdict="retreated", {HERE}}}[$__rate_interval])',
                    "retreated",
                ),
            ],
            right(1),
        ),
        placed(
            gradient_heatmap(),
            14,
            "Gradient dJ/dα",
            "How often the estimate had which figure. Wide and around zero: the gradient is noise.",
            [(f"uhes_C_gradient{{{HERE}}}", "dJ/dα")],
            left(2),
        ),
        placed(
            timeline(MODES),
            15,
            "Mode of the kernel",
            "Emergency and frozen end by an operator's approval alone.",
            [(MODE, "kernel")],
            right(2),
        ),
        placed(
            lines(decimals=6),
            16,
            "Entropy rate",
            "Rise per cycle. Above the lower line the kernel retreats, above the upper it latches.",
            [
                (f"uhes_entropy_rate{{{HERE}}}", "entropy rate"),
                (limit("entropy_max"), "entropy_max limit"),
                (limit("entropy_severe"), "entropy_severe limit"),
            ],
            left(3),
        ),
        placed(
            lines(),
            17,
            "H_internal",
            "Agreement of the nodes. Below the upper line the kernel retreats, below the lower it latches.",
            [
                (f"uhes_h_internal{{{HERE}}}", "H_internal"),
                (limit("h_internal_min"), "h_internal_min limit"),
                (limit("h_internal_severe"), "h_internal_severe limit"),
            ],
            right(3),
        ),
        placed(
            lines(),
            18,
            "Loop gain",
            "α·loop_gain(L). At 1/e = 0.3679 the recursion runs away.",
            [
                (f"uhes_loop_gain{{{HERE}}}", "{{L}}"),
                (limit("loop_gain_max"), "loop_gain_max limit"),
            ],
            left(4),
        ),
        placed(
            bars(),
            19,
            "Refusals by limit",
            "Which limits stood against proposals in each interval; one refusal may name several.",
            [(f"increase(uhes_refusals_total{{{HERE}}}[$__rate_interval])", "{{limit}}")],
            right(4),
        ),
        placed(
            timeline(METHODS),
            20,
            "Optimizer in charge",
            "What proposes. The supervisor hands over from gradient to pid when the gradient is noise.",
            [(f"uhes_attunement_mode{{{HERE}}}", "method")],
            left(5),
        ),
        placed(
            lines("s", 3),
            21,
            "Duration of trials",
            "Half of the trials ended within the lower line, 95 of 100 within the upper.",
            [
                (
                    "histogram_quantile(0.5, sum without (instance) "
                    f"(rate(uhes_trial_duration_seconds_bucket{{{HERE}}}[$__rate_interval])))",
                    "median",
                ),
                (
                    "histogram_quantile(0.95, sum without (instance) "
                    f"(rate(uhes_trial_duration_seconds_bucket{{{HERE}}}[$__rate_interval])))",
                    "95 %",
                ),
            ],
            right(5),
        ),
        placed(
            lines(decimals=0),
            22,
            "In a row",
            "Trials taken back and readings missed, in a row; at the limits the emergency latches.",
            [
                (f"uhes_consecutive_reverts{{{HERE}}}", "reverts"),
                (f"uhes_consecutive_missed_cycles{{{HERE}}}", "missed"),
                (limit("reverts_max"), "reverts_max limit"),
                (limit("missed_max"), "missed_max limit"),
            ],
            left(6),
        ),
        placed(
            lines("bytes", 1),
            23,
            "Ledger",
            "Length of the journal, and the room that is left for it.",
            [
                (f"uhes_ledger_size_bytes{{{HERE}}}", "journal"),
                (f"uhes_ledger_free_bytes{{{HERE}}}", "free"),
            ],
            right(6),
        ),
    ]


def annotation(name: str, expression: str, colour: str) -> dashboard.AnnotationQuery:
    """Return marks on every time axis where an expression has a sample."""
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
    )


def build() -> str:
    """Return the dashboard as JSON, the same text at each call."""
    made = (
        dashboard.Dashboard("λ-attunement")
        .uid("lambda-attunement")
        .tags(["attunement"])
        .description("What α is doing, and why. Written by docs/monitoring/make_dashboard.py.")
        .refresh("5s")
        .time("now-30m", "now")
        .timezone(common.TimeZoneUtc)
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboard.QueryVariable("instance")
            .label("Instance")
            .datasource(SOURCE)
            .query("label_values(uhes_alpha_value, instance)")
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".+")
        )
        .annotation(
            annotation("α changed", f"changes(uhes_alpha_value{{{HERE}}}[$__rate_interval]) > 0", BLUE)
        )
        .annotation(
            annotation(
                "latched",
                f'changes(uhes_decisions_total{{verdict="latched", {HERE}}}[$__rate_interval]) > 0',
                RED,
            )
        )
        .annotation(
            annotation(
                "restarted", f"changes(process_start_time_seconds{{{HERE}}}[$__rate_interval]) > 0", GREY
            )
        )
    )
    for panel in panels():
        made = made.with_panel(panel)
    return json.dumps(made.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    OUT.write_text(build(), encoding="utf-8")
