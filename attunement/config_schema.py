"""The configuration's keys: one table of types, ranges, units, defaults and meanings."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal, get_args
from urllib.parse import urlsplit

import attrs

from attunement.config_forms import HOST, HOSTS, ORIGIN, PATH, SOCKET, USERNAME, WORDS, is_host
from attunement.config_option import Change, Interval, expectation, option, shown

ROOT = "attunement"
ORDER_TTL_MOST_S: Final = 30 * 86_400
VERSION = 1
SQLITE: Final = "sqlite:"
HEAD_STORES: Final = (SQLITE, "postgresql://", "postgres://")

_ALPHA = Interval(0, 10, low_open=True)
_UNIT = Interval(0, 1)
_COUNT = Interval(1, 1000)
_SEED = Interval(0, 2**32 - 1)
_SECONDS = Interval(0, 3600, low_open=True)
_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")


class ConfigError(ValueError):
    """The configuration cannot be used.

    Attributes:
        problems: One line for each problem found, each naming the full key, the figure and the range.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@attrs.frozen
class SafetyConfig:
    """What the kernel enforces."""

    entropy_max: float = option(
        0.002,
        "Largest rise of entropy a safe reading may show.",
        unit="1/cycle",
        within=_UNIT,
        guards="Against disorder: nothing is granted, and nothing committed, while entropy rises faster.",
        change="order",
    )
    h_internal_min: float = option(
        0.95,
        "Smallest internal coherence a safe reading may show.",
        within=_UNIT,
        guards="Against nodes that drift apart: no proposal is granted and no trial committed below it.",
        change="order",
    )
    revert_on_failure: bool = option(
        True,
        "Revert a step that measured worse; false commits it if it is safe (the tolerance is infinite).",
        guards="Against a loss of coherence: a step after which Ĉ fell too far is taken back.",
        change="order",
    )
    k_max: float = option(
        10.0,
        "K, the largest exponent of m_t: m_t stays within exp(±K).",
        within=Interval(0, 100, low_open=True),
        guards="Against an exponent that leaves ±K: no α is granted with α·drive > K (theorem T4).",
        change="order",
    )
    kappa: float = option(
        0.9,
        "κ, the exponent bound kept by loop gain ≤ κ·exp(−κ) (theorem T11).",
        within=Interval(0, 1, low_open=True),
        guards="Against runaway: no α is granted with α·loop_gain > κ·exp(−κ) (theorems T4, T11, T12).",
        change="order",
    )
    alpha_safe: float | None = option(
        None,
        "Where a retreat leads to; null means alpha_min.",
        within=_ALPHA,
        guards="Where α goes when a reading is unsafe: no event then moves it away from here (theorem T6).",
        change="order",
    )
    entropy_severe: float | None = option(
        None,
        "Rise of entropy that is an emergency; null means ten times entropy_max.",
        unit="1/cycle",
        within=_UNIT,
        guards="Against a shock: the kernel latches EMERGENCY, which only an approval leaves (theorem T5).",
        change="order",
    )
    h_internal_severe: float | None = option(
        None,
        "Internal coherence below which it is an emergency; null means 0.80, or h_internal_min if less.",
        within=_UNIT,
        guards="Against a shock: the kernel latches EMERGENCY, which only an approval leaves (theorem T5).",
        change="order",
    )
    reverts_max: int = option(
        8,
        "Reverts in a row that are an emergency.",
        unit="trials",
        within=_COUNT,
        guards="Against an optimizer that is wrong again and again: the kernel latches EMERGENCY.",
        change="order",
    )
    missed_max: int = option(
        5,
        "Cycles in a row without a new sample that are an emergency.",
        unit="cycles",
        within=_COUNT,
        guards="Against flying blind: without readings the kernel latches EMERGENCY.",
        change="order",
    )
    trial_deadline: float = option(
        5.0,
        "Time after which a trial that nobody settled is reverted.",
        unit="s",
        within=_SECONDS,
        guards="Against a trial left open by a loop that hangs.",
    )
    tolerance: float | Literal["auto"] = option(
        "auto",
        "Fall of Ĉ that still counts as no worse; auto takes it from the measured noise.",
        within=_UNIT,
        guards="Against a loss of coherence that single samples do not show; part of revert_on_failure.",
        change="order",
    )


@attrs.frozen
class ObjectiveConfig:
    """What the optimizers maximise: Ĉ − ρ·(α − 1)²."""

    rho: float = option(0.0, "ρ, the weight of the regularizer (α − 1)².", within=Interval(0, 1000))
    coherence_window: int = option(
        1, "Snapshots at one α that Ĉ is averaged over.", unit="cycles", within=_COUNT
    )


@attrs.frozen
class OptimizerConfig:
    """Who proposes."""

    name: str = option("supervisor", "The optimizer that proposes, by its registered name.")
    seed: int = option(0, "Seed of the optimizer's random numbers.", within=_SEED)
    ask_timeout: float = option(
        0.5,
        "Time an optimizer may take to answer before it is passed over.",
        unit="s",
        within=_SECONDS,
        guards="Against an optimizer that hangs: the loop never waits longer.",
    )
    settings: Mapping[str, Any] = option(attrs.Factory(dict), "Settings of the optimizer, by its own names.")
    isolate: bool = option(
        False, "Run the optimizer in a process of its own, with limits on its time and memory."
    )
    memory_max: int = option(
        1024, "Address space of that process.", unit="MiB", within=Interval(64, 1_048_576)
    )
    cpu_max: int = option(
        3600,
        "CPU time of that process from its start to its end; then it is started anew.",
        unit="s",
        within=Interval(1, 10**9),
    )
    memory_path: str | None = option(
        None, "File in which the optimizer's memory lives on between runs; null forgets it.", form=PATH
    )


@attrs.frozen
class EngineConfig:
    """The recursion Ω_t = f_t·exp(λ·proj(I_t)), or a system that Prometheus watches."""

    kind: Literal["cal", "prometheus"] = option(
        "cal",
        "cal: the recursion on a feature source; prometheus: read by PromQL, see the section prometheus.",
    )
    window: int = option(
        8, "Past cycles that the integral I_t reaches back.", unit="cycles", within=Interval(1, 10_000)
    )
    W: float = option(
        1.0, "Σ|w_k|Δt, the total weight of the integral I_t.", within=Interval(0, 10, low_open=True)
    )
    dt: float = option(1.0, "Δt, the time step of the integral I_t.", unit="time per cycle", within=_SECONDS)
    gain_sd: float = option(0.1, "Standard deviation of the node gains around 1.", within=_UNIT)
    c_ref: float = option(
        1.0, "Mean square of Ω that is mapped to Ĉ = 0.5.", within=Interval(0, 1e6, low_open=True)
    )
    seed: int = option(0, "Seed of the node gains.", within=_SEED)


@attrs.frozen
class Shock:
    """A disturbance of the simulated features during ``start ≤ sequence < start + length``."""

    kind: Literal["latency", "partition", "spectral", "psi", "drift"] = option(
        attrs.NOTHING,
        "latency: a share of the nodes reports late; partition: it turns to another direction; "
        "spectral: its noise rises; psi: Ψ is multiplied; drift: Ψ goes evenly to a multiple and back.",
    )
    start: int = option(attrs.NOTHING, "First cycle of the shock.", unit="cycles", within=Interval(1, 10**9))
    length: int = option(
        attrs.NOTHING, "Cycles that the shock lasts.", unit="cycles", within=Interval(1, 10**9)
    )
    magnitude: float = option(
        attrs.NOTHING,
        "latency: delay in whole cycles, at least 1; partition: share of a right angle, up to 1; "
        "spectral: added standard deviation; psi: factor; drift: factor in the middle.",
        within=Interval(0, 1000),
    )
    share: float = option(
        1.0,
        "Share of the nodes that is struck; psi and drift strike all.",
        within=Interval(0, 1, low_open=True),
    )


@attrs.frozen
class SourceConfig:
    """Where features and Ψ come from."""

    kind: Literal["simulator", "trace", "host"] = option("simulator", "The feature source.")
    nodes: int = option(
        64,
        "Simulated nodes; a trace has one a file, a host one a CPU.",
        unit="nodes",
        within=Interval(1, 100_000),
    )
    dims: int = option(4, "Simulated features a node; a trace and a host have 4.", within=Interval(1, 1024))
    psi: float = option(0.9, "Ψ, which gives λ_base = Ψ/φ.", within=_UNIT)
    noise: float = option(
        0.05, "Standard deviation of the simulated noise, per component.", within=Interval(0, 10)
    )
    seed: int = option(0, "Seed of the simulated noise and of the nodes that shocks strike.", within=_SEED)
    folder: str | None = option(None, "Folder of the trace's CSV files.", form=PATH)
    window: int = option(
        12, "Samples that a trace's features are taken over.", unit="samples", within=Interval(2, 10_000)
    )
    repeat: bool = option(False, "Start a trace again at its end instead of stopping.")
    shocks: tuple[Shock, ...] = option((), "Shocks of the simulator.")


@attrs.frozen
class HttpAuthConfig:
    """Who asks, and whom to trust."""

    token_path: str | None = option(None, "File of a bearer token, read for every request.", form=PATH)
    username: str | None = option(None, "Name for basic authentication.", form=USERNAME)
    password_path: str | None = option(None, "File of its password, read for every request.", form=PATH)
    ca_path: str | None = option(
        None, "File of certificates to trust; null trusts those of the system.", form=PATH
    )
    verify_tls: bool = option(True, "Check certificates; false lets anyone in between read and answer.")


@attrs.frozen
class QueryConfig:
    """One figure of a system that Prometheus watches."""

    promql: str | None = option(None, "The query; null: the system does not tell, and is refused if it must.")
    range: float = option(
        0.0,
        "Length of a range query that ends at the sample; 0 makes it an instant query.",
        unit="s",
        within=Interval(0, 86_400),
    )
    step: float = option(1.0, "Step of a range query.", unit="s", within=_SECONDS)
    reduce: Literal["last", "mean", "min", "max", "rise"] = option(
        "last", "What becomes of a range; rise: growth per step, never negative."
    )
    clock: str | None = option(
        None,
        "Query for the Unix time of the oldest sample that the figure rests on, for samples that are pushed: "
        "a server hands those out for minutes. Null: a scraped figure vanishes by itself.",
    )


@attrs.frozen
class PrometheusConfig:
    """A system that is read by PromQL and takes α by an HTTP call or from a file."""

    url: str | None = option(None, "Address of Prometheus, e.g. https://prometheus.example:9090.")
    auth: HttpAuthConfig = attrs.field(factory=HttpAuthConfig)
    timeout: float = option(
        5.0,
        "Longest time for one request, from the connection to the end of the answer.",
        unit="s",
        within=_SECONDS,
    )
    poll: float = option(1.0, "Wait between two looks for a new sample.", unit="s", within=_SECONDS)
    stale_after: float = option(30.0, "Age at which a sample counts as missing.", unit="s", within=_SECONDS)
    lookback: float = option(
        0.0,
        "How far back the queries look, 30 for rate(x[30s]): so long after a change of α no sample counts.",
        unit="s",
        within=Interval(0, 3600),
    )
    clock: str | None = option(
        None, "Query for the Unix time of the newest sample, e.g. timestamp(requests_total)."
    )
    coherence: QueryConfig = attrs.field(factory=QueryConfig)
    entropy_rate: QueryConfig = attrs.field(factory=QueryConfig)
    h_internal: QueryConfig = attrs.field(factory=QueryConfig)
    drive: QueryConfig = attrs.field(factory=QueryConfig)
    loop_gain: QueryConfig = attrs.field(factory=QueryConfig)
    psi: QueryConfig = attrs.field(factory=QueryConfig)
    lambda_base: QueryConfig = attrs.field(factory=QueryConfig)
    apply: Literal["http", "file"] = option("http", "How α is handed over.")
    apply_url: str | None = option(None, 'Address that α is sent to, as JSON {"alpha": 1.02}.')
    apply_method: Literal["PUT", "POST"] = option("PUT", "Method that it is sent by.")
    apply_auth: HttpAuthConfig = attrs.field(factory=HttpAuthConfig)
    apply_path: str | None = option(None, "File that α is written to, replaced as a whole.", form=PATH)


@attrs.frozen
class MetricsConfig:
    """The Prometheus endpoint."""

    enabled: bool = option(True, "Serve metrics.")
    host: str = option("127.0.0.1", "Address to listen at.", form=HOST)
    port: int = option(9464, "Port to listen at; 0 takes any free one.", within=Interval(0, 65_535))


@attrs.frozen
class ControlConfig:
    """The control socket of a running loop, readable and writable by its owner alone."""

    enabled: bool = option(True, "Serve the control socket.")
    socket: str | None = option(
        None, "File of the socket; null means the ledger's folder with .sock added to its name.", form=SOCKET
    )


@attrs.frozen
class ServeConfig:
    """The web page of `serve`."""

    host: str = option("127.0.0.1", "Address to listen at.", form=HOST)
    port: int = option(9465, "Port to listen at; 0 takes any free one.", within=Interval(0, 65_535))
    names: str = option(
        "localhost",
        "Names, separated by commas, under which browsers may ask for the page, beside the address itself.",
        form=HOSTS,
    )
    token_path: str | None = option(
        None,
        "File, readable by its owner alone, with the token that handing an order in demands; null makes the "
        "page read-only.",
        form=PATH,
    )


@attrs.frozen
class LoggingConfig:
    """The audit ledger and the log."""

    audit_ledger_path: str = option("var/ledger", "Folder of the signed ledger.", form=PATH)
    key_path: str = option("var/ledger.key", "File of the key that signs its records.", form=PATH)
    log_key_path: str = option("var/ledger-log.key", "File of the key that signs its checkpoints.", form=PATH)
    origin: str = option("localhost/lambda-attunement", "Name of the ledger, unique among logs.", form=ORIGIN)
    format: Literal["json", "console"] | None = option(
        None, "Form of the log of decisions; null keeps no log, the ledger holds every decision anyway."
    )
    file: str | None = option(None, "File that the log is added to; null means stderr.", form=PATH)
    level: Literal["debug", "info", "warning", "error"] = option(
        "info",
        "Least level that is logged: debug for what held, warning for what was refused or taken back, error "
        "for a retreat or a latch.",
        change="reload",
    )
    head_store: str | None = option(
        None,
        "Where the ledger's head is kept as a row that one writer owns: sqlite:FILE, or an address "
        "postgresql://…; null: nowhere.",
    )
    spans: bool = option(
        False,
        "Send OpenTelemetry spans to OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra tracing.",
    )


@attrs.frozen
class OperatorConfig:
    """One who may sign orders."""

    name: str = option(attrs.NOTHING, "Name of the operator.", form=WORDS)
    key_path: str = option(attrs.NOTHING, "File of the operator's public key.", form=PATH)


@attrs.frozen
class EscalationConfig:
    """When trials that are taken back again and again are somebody's concern."""

    reverts: int = option(
        6,
        "Trials taken back within the window that raise an alert.",
        unit="trials",
        within=_COUNT,
        change="reload",
    )
    window: int = option(
        40,
        "Newest cycles that they are counted in.",
        unit="cycles",
        within=Interval(1, 100_000),
        change="reload",
    )
    backoff: int = option(
        200,
        "Cycles after an alert without another; doubled by each alert, up to 32 times this, and itself again "
        "after a window without a trial taken back.",
        unit="cycles",
        within=Interval(1, 10**6),
        change="reload",
    )
    command: str | None = option(
        None,
        "Command that is run for an alert, without a shell; it gets the alert as JSON on its input.",
        change="reload",
    )
    command_timeout: float = option(
        10.0,
        "Time that the command may take.",
        unit="s",
        within=_SECONDS,
        change="reload",
    )


@attrs.frozen
class GovernanceConfig:
    """Who may give orders."""

    operators: tuple[OperatorConfig, ...] = option(
        (), "Operators; without any, nobody may approve, override or change policy."
    )
    quorum: int = option(
        1,
        "Operators that an order needs; a freeze needs one.",
        within=Interval(1, 64),
        guards="Against one operator alone: an approval, override or policy needs so many signatures.",
    )
    psi_min: float = option(
        0.5,
        "Smallest Ψ at which a changed policy is adopted.",
        within=_UNIT,
        guards="Against a changed policy while the system itself is in doubt.",
    )
    order_ttl: float = option(
        3600.0,
        "Longest life of an order.",
        unit="s",
        within=Interval(0, ORDER_TTL_MOST_S, low_open=True),
        guards="Against an old order that is found and sent again.",
    )
    predecessor: str | None = option(
        None,
        "Folder of the ledger that this one continues, written by the same key: a persisted α in it is the "
        "α at the first start.",
        form=PATH,
    )
    escalation: EscalationConfig = attrs.field(factory=EscalationConfig)


@attrs.frozen
class Config:
    """The whole configuration; an instance is always valid, also across its keys.

    Raises:
        ConfigError: Keys contradict each other.
    """

    enabled: bool = option(True, "Attune; false leaves α at alpha_initial.")
    alpha_initial: float = option(1.0, "α at the first start.", within=_ALPHA)
    alpha_min: float = option(
        0.8,
        "Smallest α.",
        within=_ALPHA,
        guards="α never lies below it, after any event (theorem T1).",
        change="order",
    )
    alpha_max: float = option(
        1.2,
        "Largest α.",
        within=_ALPHA,
        guards="α never lies above it, after any event (theorem T1).",
        change="order",
    )
    delta_alpha_max: float = option(
        0.02,
        "Largest change of α by one event.",
        unit="per event",
        within=Interval(0, 1, low_open=True),
        guards="Against jumps: α never moves further in one event, whatever the event (theorem T2).",
        change="order",
    )
    lr: float | Literal["auto"] = option(
        "auto",
        "Learning rate; auto takes it from the measured curvature.",
        within=Interval(0, 1000, low_open=True),
    )
    momentum: float = option(
        0.85, "Share of the velocity kept from step to step.", within=Interval(0, 1, high_open=True)
    )
    epsilon: float | Literal["auto"] = option(
        "auto",
        "Size of a finite-difference probe; auto takes it from the measured noise.",
        within=Interval(0, 1, low_open=True),
    )
    settle_delay: float = option(
        0.25,
        "Pause between the cycles of a run, and the least age of a trial that a safe reading settles; an"
        " unsafe one settles it at once.",
        unit="s",
        within=Interval(0, 3600),
    )
    gradient_averaging_window: int = option(
        3, "Gradient estimates that are averaged.", unit="estimates", within=_COUNT
    )
    cycles: int | None = option(
        400, "Length of a run; null runs until stopped.", unit="cycles", within=Interval(1, 10**9)
    )
    predictive_coherence: bool = option(
        True, "Forecast Ĉ and the entropy rate of the next cycle and show the error; it decides nothing."
    )
    safety: SafetyConfig = attrs.field(factory=SafetyConfig)
    objective: ObjectiveConfig = attrs.field(factory=ObjectiveConfig)
    optimizer: OptimizerConfig = attrs.field(factory=OptimizerConfig)
    engine: EngineConfig = attrs.field(factory=EngineConfig)
    source: SourceConfig = attrs.field(factory=SourceConfig)
    prometheus: PrometheusConfig = attrs.field(factory=PrometheusConfig)
    metrics: MetricsConfig = attrs.field(factory=MetricsConfig)
    control: ControlConfig = attrs.field(factory=ControlConfig)
    serve: ServeConfig = attrs.field(factory=ServeConfig)
    logging: LoggingConfig = attrs.field(factory=LoggingConfig)
    governance: GovernanceConfig = attrs.field(factory=GovernanceConfig)

    def __attrs_post_init__(self) -> None:
        problems = (
            *_alpha_problems(self),
            *_safety_problems(self),
            *_source_problems(self),
            *_prometheus_problems(self),
            *_command_problems(self.governance.escalation.command),
            *_head_store_problems(self.logging.head_store),
        )
        if problems:
            raise ConfigError(*problems)

    @property
    def alpha_safe(self) -> float:
        """Where a retreat leads to: ``safety.alpha_safe``, or ``alpha_min`` when that is null."""
        return self.alpha_min if self.safety.alpha_safe is None else self.safety.alpha_safe

    @property
    def entropy_severe(self) -> float:
        """Rise of entropy [1/cycle] that is an emergency, the default filled in."""
        severe = self.safety.entropy_severe
        return min(10 * self.safety.entropy_max, 1.0) if severe is None else severe

    @property
    def h_internal_severe(self) -> float:
        """Internal coherence below which it is an emergency, the default filled in."""
        severe = self.safety.h_internal_severe
        return min(0.80, self.safety.h_internal_min) if severe is None else severe


@attrs.frozen
class OptionInfo:
    """One row of the table of keys, in words."""

    key: str
    accepts: str
    default: object
    unit: str
    doc: str
    guards: str
    change: Change


VERSION_INFO: Final = OptionInfo(
    key="version",
    accepts=f"the whole number {VERSION}",
    default=VERSION,
    unit="",
    doc=f"Form of the file, beside {ROOT}; it may be left out, and no flag or variable sets it.",
    guards="",
    change="restart",
)
"""The one key that stands beside ``attunement`` in a file, and is none of its keys."""


def describe() -> tuple[OptionInfo, ...]:
    """List every key in file order, e.g. ``attunement.safety.entropy_max``."""
    return tuple(_describe(Config, ROOT))


def _describe(section: type[Any], prefix: str) -> Iterator[OptionInfo]:
    for field in attrs.fields(section):
        key = f"{prefix}.{field.name}"
        if attrs.has(field.type):
            yield from _describe(field.type, key)
            continue
        default = {} if field.type == Mapping[str, Any] else field.default
        told = field.metadata
        accepts = expectation(field.type, told["within"], told["form"])
        yield OptionInfo(key, accepts, default, told["unit"], told["doc"], told["guards"], told["change"])
        for member in get_args(field.type):
            if attrs.has(member):
                yield from _describe(member, f"{key}[]")


def _alpha_problems(config: Config) -> Iterator[str]:
    low, high = config.alpha_min, config.alpha_max
    if not low < high:
        yield f"{ROOT}.alpha_min is {low:.12g}, must be below {ROOT}.alpha_max ({high:.12g})"
        return
    for key, alpha in (("alpha_initial", config.alpha_initial), ("safety.alpha_safe", config.alpha_safe)):
        if not low <= alpha <= high:
            yield (
                f"{ROOT}.{key} is {alpha:.12g}, must lie in [{low:.12g}, {high:.12g}] "
                f"({ROOT}.alpha_min to {ROOT}.alpha_max)"
            )
    # 1.2 − 0.8 is a little less than 0.4 in floats.
    if not config.delta_alpha_max <= (high - low) * (1 + 1e-12):
        yield (
            f"{ROOT}.delta_alpha_max is {config.delta_alpha_max:.12g}, must be at most {high - low:.12g} "
            f"({ROOT}.alpha_max less {ROOT}.alpha_min)"
        )
    if config.epsilon != "auto" and not config.epsilon <= config.delta_alpha_max:
        yield (
            f"{ROOT}.epsilon is {config.epsilon:.12g}, must be at most {ROOT}.delta_alpha_max "
            f"({config.delta_alpha_max:.12g}): every probe would be refused"
        )


def _safety_problems(config: Config) -> Iterator[str]:
    safety = config.safety
    if not safety.entropy_max <= config.entropy_severe:
        yield (
            f"{ROOT}.safety.entropy_severe is {config.entropy_severe:.12g}, must be at least "
            f"{ROOT}.safety.entropy_max ({safety.entropy_max:.12g})"
        )
    if not config.h_internal_severe <= safety.h_internal_min:
        yield (
            f"{ROOT}.safety.h_internal_severe is {config.h_internal_severe:.12g}, must be at most "
            f"{ROOT}.safety.h_internal_min ({safety.h_internal_min:.12g})"
        )
    if not safety.kappa <= safety.k_max:
        yield (
            f"{ROOT}.safety.kappa is {safety.kappa:.12g}, must be at most "
            f"{ROOT}.safety.k_max ({safety.k_max:.12g})"
        )
    if not config.settle_delay < safety.trial_deadline:
        yield (
            f"{ROOT}.settle_delay is {config.settle_delay:.12g} s, must be below "
            f"{ROOT}.safety.trial_deadline ({safety.trial_deadline:.12g} s): every trial would be reverted"
        )


def _command_problems(command: str | None) -> Iterator[str]:
    try:
        words = shlex.split(command or "true")
    except ValueError as error:
        yield f"{ROOT}.governance.escalation.command cannot be split into words: {error}"
        return
    if not words[0]:
        yield f"{ROOT}.governance.escalation.command names no program"


def _head_store_problems(address: str | None) -> Iterator[str]:
    if address is None or (address.startswith(HEAD_STORES) and address != SQLITE):
        return
    # It may hold a password.
    kind = address.partition(":")[0]
    yield f"{ROOT}.logging.head_store begins with {kind[:20]!a}, must be sqlite:FILE or postgresql://…"


def _source_problems(config: Config) -> Iterator[str]:
    source = config.source
    if source.kind == "trace" and source.folder is None:
        yield f"{ROOT}.source.folder is null, must name a folder when {ROOT}.source.kind is trace"
    if source.shocks and source.kind != "simulator":
        yield (
            f"{ROOT}.source.shocks has {len(source.shocks)} entries, must be empty when "
            f"{ROOT}.source.kind is {source.kind}"
        )
    for index, shock in enumerate(source.shocks):
        yield from (
            f"{ROOT}.source.shocks[{index}]{problem}" for problem in shock_problems(shock, source.dims)
        )


def _prometheus_problems(config: Config) -> Iterator[str]:
    if config.engine.kind != "prometheus":
        return
    settings, key = config.prometheus, f"{ROOT}.prometheus"
    needed = {
        "url": settings.url,
        "clock": settings.clock,
        "coherence.promql": settings.coherence.promql,
        f"apply_{'url' if settings.apply == 'http' else 'path'}": (
            settings.apply_url if settings.apply == "http" else settings.apply_path
        ),
    }
    for name, value in needed.items():
        if value is None:
            yield f"{key}.{name} is null, must be given when {ROOT}.engine.kind is prometheus"
    if not settings.lookback < config.safety.trial_deadline:
        yield (
            f"{key}.lookback is {settings.lookback:.12g} s, must be below {ROOT}.safety.trial_deadline "
            f"({config.safety.trial_deadline:.12g} s): every trial would be reverted"
        )
    yield from _http_problems(f"{key}.url", settings.url, f"{key}.auth", settings.auth)
    if settings.url is not None and not {"?", "#"}.isdisjoint(settings.url):
        yield f"{key}.url is {shown(settings.url)}, must have no query: each question's path is added"
    yield from _http_problems(
        f"{key}.apply_url", settings.apply_url, f"{key}.apply_auth", settings.apply_auth
    )


def _http_problems(url_key: str, url: str | None, auth_key: str, auth: HttpAuthConfig) -> Iterator[str]:
    if (auth.username is None) != (auth.password_path is None):
        yield f"{auth_key}.username and {auth_key}.password_path must be given together"
    if auth.token_path is not None and auth.username is not None:
        yield f"{auth_key}.token_path and {auth_key}.username are both given, must be one of them"
    if url is None:
        return
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        yield f"{url_key} is no address: {error}"
        return
    # A request line has no room for a path beyond ASCII; urlsplit() leaves out some of what does not print.
    is_plain = url.isprintable() and " " not in url and f"{parts.path}{parts.query}".isascii()
    if "@" in (parts.netloc or url):
        # With the user there may be a password, which is not shown.
        yield f"{url_key} has a user in it, must be an http or https address without one"
    elif parts.scheme not in ("http", "https") or not host:
        yield f"{url_key} is {shown(url)}, must be an http or https address without a user in it"
    elif not (is_plain and is_host(host)):
        yield f"{url_key} is {shown(url)}, must be a host, a port and a path of ASCII without spaces"
    elif parts.scheme == "http" and host not in _THIS_MACHINE and (auth.token_path or auth.username):
        yield f"{url_key} is {url}, must be https: {auth_key} would send its secret unencrypted"


def shock_problems(shock: Shock, dims: int) -> Iterator[str]:
    """List what is wrong with a shock of features with ``dims`` components, each line starting at its key."""
    if shock.kind == "latency" and not (shock.magnitude >= 1 and float(shock.magnitude).is_integer()):
        yield f".magnitude is {shock.magnitude:.12g}, must be a whole number of cycles from 1 up for latency"
    if shock.kind == "partition" and not shock.magnitude <= 1:
        yield f".magnitude is {shock.magnitude:.12g}, must lie in [0, 1] for partition"
    if shock.kind == "partition" and not dims >= 2:
        yield f".kind is partition, must be another kind when {ROOT}.source.dims is {dims}"
