"""The command line.

Data goes to stdout, messages to stderr. Exit codes: 0 done or accepted, 1 error, 2 usage or configuration,
3 refused or verification failed, 4 frozen or emergency.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

import ledger
from attunement.assembly import Attunement
from attunement.calibrate import CalibrationError
from attunement.certified import UnverifiedKernelError, doubts
from attunement.charter import load_charter
from attunement.cli_common import (
    EXIT_ERROR,
    EXIT_LATCHED,
    EXIT_REFUSED,
    EXIT_USAGE,
    FilePath,
    VerificationEndedError,
    complain,
    config_option,
    configuration,
    first_public_key,
    given_flags,
    json_option,
    progress_bar,
    public_key,
    unverified_option,
    verified,
)
from attunement.cli_config import config_group
from attunement.cli_doctor import completion_command, doctor_command
from attunement.cli_dry_run import dry_run_command
from attunement.cli_keys import keys_group, signers_of
from attunement.cli_ledger import ledger_group
from attunement.cli_live import live_rows, live_status, watch
from attunement.cli_optimizers import optimizers_group
from attunement.cli_order_now import COMMANDS as ORDER_COMMANDS
from attunement.cli_orders import order_group, read_order
from attunement.cli_policy import policy_group
from attunement.cli_serve import serve_command
from attunement.cli_snapshot import load_command, read_snapshot, save_command
from attunement.config_schema import Config, ConfigError
from attunement.control import LoopTelemetry, controlled
from attunement.control_protocol import ControlError, served_socket
from attunement.counterfactual import ReproductionError
from attunement.counterfactual_plot import PlotError
from attunement.decision_log import LogError
from attunement.engine import EngineInputError
from attunement.feed import TelemetryFeed
from attunement.forecast import Forecaster
from attunement.foreign import escaped
from attunement.journal import JournalError
from attunement.ledger_view import LedgerVerdict, Status
from attunement.ledger_view import status as ledger_status
from attunement.measurement import EngineCapabilityError, MeasurementError
from attunement.metrics import Metrics
from attunement.metrics_server import MetricsError, MetricsServer
from attunement.optimizer_memory import OptimizerMemoryError, write_memory
from attunement.order import OrderError
from attunement.order_desk import Signatory
from attunement.policy import kernel_limits
from attunement.printing import close_streams, flush, open_streams, print_whatever_comes, tell
from attunement.prometheus_engine import PrometheusError
from attunement.recording import RecordingError
from attunement.run_side import GuardedScreen, RunConsole, RunSide
from attunement.running import Stop, run_cycles, stopped_by_signals
from attunement.snapshot import Snapshot, SnapshotError
from attunement.sources import SourceError
from attunement.spans import TracingError
from attunement.view import JsonView, LiveView, PlainView, View
from kernel import ActuatorError, LedgerUnavailableError, Mode
from ledger import (
    KeyFileError,
    LedgerError,
    LedgerKeyError,
    LedgerReadError,
    LedgerTamperedError,
    NoteError,
    ProofError,
)
from optimizers.errors import OptimizerError

if TYPE_CHECKING:
    import proofs

_USAGE = (
    RecordingError,
    TracingError,
    ConfigError,
    KeyFileError,
    OrderError,
    OptimizerError,
    EngineCapabilityError,
    CalibrationError,
)
_REFUSED = (
    LedgerKeyError,
    LedgerTamperedError,
    JournalError,
    NoteError,
    ProofError,
    SnapshotError,
    OptimizerMemoryError,
    UnverifiedKernelError,
    ReproductionError,
)
_FAILED = (
    EngineInputError,
    PrometheusError,
    LedgerError,
    LedgerUnavailableError,
    ControlError,
    SourceError,
    LogError,
    PlotError,
    ActuatorError,
    MeasurementError,
    OSError,
)


def main() -> None:
    """Run the command line and exit."""
    try:
        open_streams()
        print_whatever_comes()
        code = _exit_code(sys.argv[1:])
    except KeyboardInterrupt:
        code = complain("interrupted", EXIT_ERROR)
    # All is done and said: a signal while the interpreter takes itself down shall not make it look otherwise.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    close_streams()
    sys.exit(code)


def _exit_code(arguments: list[str]) -> int:
    try:
        code = cli.main(arguments, prog_name="lambda-attunement", standalone_mode=False)
        if not flush():
            return EXIT_ERROR
    except click.ClickException as error:
        with suppress(OSError):
            error.show()
        return EXIT_USAGE
    except click.Abort:
        return complain("interrupted", EXIT_ERROR)
    except _USAGE as error:
        return complain(str(error), EXIT_USAGE)
    except _REFUSED as error:
        return complain(str(error), EXIT_REFUSED)
    except _FAILED as error:
        return complain(str(error), EXIT_ERROR)
    return int(code or 0)


@click.group(
    epilog="Exit codes: 0 done, 1 error, 2 usage or configuration, 3 refused, 4 frozen or emergency."
)
@click.version_option(package_name="lambda-attunement")
def cli() -> None:
    """Attune λ(t, L) = λ_base(L)·α(t) under a proved safety kernel."""


@cli.command()
@config_option
@click.option(
    "--cycles", type=click.IntRange(min=1), help="Length of the run, instead of the configuration's."
)
@click.option("--plain", is_flag=True, help="Print a line a cycle instead of the live view.")
@json_option
@click.option("--operator-key", type=FilePath(), help="Private key of an operator present.")
@click.option("--actor", help="Who that is, for the record.")
@click.option("--reason", help="Why the order is given, for the record.")
@click.option(
    "--order",
    "order_paths",
    multiple=True,
    type=FilePath(),
    help="A signed order to carry out at the first reading; may be given again.",
)
@click.option(
    "--snapshot",
    type=FilePath(),
    help="A file of `save`: verify and read again only what came after it. If the ledger does not begin as "
    "it says, that is told and the whole ledger is verified.",
)
@click.option(
    "--record",
    type=FilePath(),
    help="Record the session to this new file, .parquet or .ndjson, for `dry-run --trace`.",
)
@unverified_option
def run(
    config_path: Path | None,
    cycles: int | None,
    plain: bool,
    as_json: bool,
    operator_key: Path | None,
    actor: str | None,
    reason: str | None,
    order_paths: tuple[Path, ...],
    snapshot: Path | None,
    record: Path | None,
    allow_unverified: bool,
) -> int:
    """Attune the configured engine; resume where the ledger left off.

    With --operator-key, --actor and --reason the operator approves leaving a freeze or an emergency and
    adopts a changed policy, once, at the first reading. Orders that were signed elsewhere come with --order.

    SIGTERM, SIGINT and the end of the terminal, or of whoever reads the output, end it in order. SIGHUP has
    the configuration read again: what is neither policy nor fixed at the start is taken in, and the rest is
    named.

    Example: lambda-attunement run --config attunement.yaml --cycles 400
    """
    config = configuration(config_path)
    signatory = _signatory(operator_key, actor, reason)
    orders, charter = [read_order(path) for path in order_paths], load_charter(config)
    signers = signers_of(config)
    saved = _saved(snapshot, signers.records.verify_key)
    metrics = Metrics()
    is_verified = not doubts()
    metrics.on_start(kernel_is_verified=is_verified)
    total = config.cycles if cycles is None else cycles
    forecaster = Forecaster((metrics.on_forecasts,)) if config.predictive_coherence else None
    telemetry = LoopTelemetry(config.logging.audit_ledger_path, is_verified, config.optimizer.name)
    socket = served_socket(config)
    with stopped_by_signals() as stop:
        with (
            RunSide(config, record, config_path, given_flags(), stop.wait) as side,
            _served(metrics, config),
            _fed(forecaster, metrics) as feeds,
        ):
            screen = GuardedScreen(_view(config, plain, as_json, total, forecaster), stop)
            try:
                with Attunement(
                    config,
                    side.engine,
                    signers,
                    charter,
                    signatory,
                    (metrics, *feeds, screen, telemetry, *side.subscribers),
                    orders,
                    (metrics,),
                    allow_unverified=allow_unverified,
                    snapshot=saved,
                ) as attunement:
                    if attunement.snapshot_refused:
                        _leave_aside(snapshot, attunement.snapshot_refused)
                    if attunement.recalled:
                        tell(attunement.recalled)
                    metrics.on_open(config, attunement.kernel, attunement.ledger)
                    with controlled(socket, telemetry, attunement.kernel, attunement.desk):
                        attunement.controller.start()
                        after = partial(side.between_cycles, attunement, stop)
                        ending = run_cycles(side.engine, total, config.settle_delay, stop, after)
                        cause = stop.cause if stop.is_set() else ending.cause
                        side.log.say("run ended", cycles=ending.cycles, cause=cause)
            finally:
                screen.close()
        return _closed(config, attunement, side, stop, f"{ending.cycles} cycles run: {cause}", total is None)


@cli.command()
@config_option
@click.option("--snapshot", type=FilePath(), help="Read only what followed this file of `save`.")
@click.option(
    "--watch",
    "is_watching",
    is_flag=True,
    help="Follow the loop that runs: one screen, or a line a cycle if piped.",
)
@json_option
def status(config_path: Path | None, snapshot: Path | None, is_watching: bool, as_json: bool) -> int:
    """Tell what the ledger says of α now, and the loop if one runs; exit code 4 if frozen or in emergency.

    Example: lambda-attunement status --watch
    """
    config = configuration(config_path)
    if is_watching:
        watch(config, as_json)
        return 0
    told, live = _status(config, snapshot), live_status(config)
    if as_json:
        click.echo(json.dumps({**told.as_json(), "loop": live}, allow_nan=False))
    else:
        # A figure or a path that is cut off by "…" is not told.
        table = Table(Column(), Column(overflow="fold"), show_header=False)
        for name, figure in (*told.rows(), *(() if live is None else live_rows(live))):
            table.add_row(name, Text(escaped(figure)))
        Console().print(table)
    return EXIT_LATCHED if told.state.mode in (Mode.FROZEN, Mode.EMERGENCY) else 0


cli.add_command(keys_group)
cli.add_command(ledger_group)
cli.add_command(save_command)
cli.add_command(load_command)
cli.add_command(order_group)
cli.add_command(serve_command)
cli.add_command(optimizers_group)
cli.add_command(config_group)
cli.add_command(dry_run_command)
cli.add_command(doctor_command)
cli.add_command(completion_command)
cli.add_command(policy_group)
for order_command in ORDER_COMMANDS:
    cli.add_command(order_command)


@cli.command()
@click.option("--theorem", "names", multiple=True, help="Only this theorem; may be given again.")
@click.option(
    "--explain", "explained", metavar="NAME", help="Say what a theorem claims and how it is proved."
)
@json_option
def prove(names: tuple[str, ...], explained: str | None, as_json: bool) -> int:
    """Prove the theorems about the kernel that is installed; exit code 3 if one is not proved.

    Example: lambda-attunement prove --explain rate_limit_holds_on_every_event
    """
    # Imported here: loading the solvers takes longer than most commands run.
    import proofs

    if explained is not None:
        if names:
            raise click.UsageError("--explain proves its own theorem: give it without --theorem")
        try:
            text, is_proved = proofs.explain(explained)
        except proofs.UnknownTheoremError as error:
            raise click.UsageError(str(error)) from error
        except proofs.ProofError as error:
            return complain(str(error), EXIT_REFUSED)
        told = {"theorem": explained, "is_proved": is_proved, "text": text}
        click.echo(json.dumps(told, ensure_ascii=False) if as_json else text)
        return 0 if is_proved else EXIT_REFUSED
    with progress_bar() as progress:
        task = progress.add_task("proving", total=None)

        def on_progress(done: int, total: int, name: str) -> None:
            progress.update(task, completed=done, total=total, description=name)

        try:
            results = proofs.prove_all(names or None, on_progress)
        except proofs.UnknownTheoremError as error:
            raise click.UsageError(str(error)) from error
        except proofs.ProofError as error:
            return complain(str(error), EXIT_REFUSED)
    if as_json:
        click.echo(json.dumps(_rows_as_json(results), ensure_ascii=False))
    else:
        Console().print(proofs.render_table(results))
    for row in results.rows:
        if row.reason:
            complain(f"{row.name}: {row.reason}\n{row.counterexample}", EXIT_REFUSED)
    return 0 if results.proved else EXIT_REFUSED


def _signatory(key: Path | None, actor: str | None, reason: str | None) -> Signatory | None:
    if key is None and actor is None and reason is None:
        return None
    if key is None or not (actor or "").strip() or not (reason or "").strip():
        raise click.UsageError("an order needs --operator-key, --actor and --reason together")
    return Signatory(ledger.load_private(key), str(actor), str(reason))


def _saved(path: Path | None, key: ledger.VerifyKey) -> Snapshot | None:
    # The ledger is the truth: without a snapshot the start takes longer, and that is all.
    if path is None:
        return None
    try:
        return read_snapshot(path, key)
    except (SnapshotError, LedgerReadError) as error:
        _leave_aside(path, str(error))
        return None


def _leave_aside(path: Path | None, why: str) -> None:
    tell(f"snapshot {path} was left aside, the whole ledger is verified: {why}")


def _status(config: Config, snapshot: Path | None) -> Status:
    folder = Path(config.logging.audit_ledger_path)
    if snapshot is None:
        return ledger_status(folder)
    key = public_key(config)
    return read_snapshot(snapshot, key).status(folder, key)


def _closed(
    config: Config, attunement: Attunement, side: RunSide, stop: Stop, ending: str, is_endless: bool
) -> int:
    """Say how a run ended and what became of its ledger and its orders; return the exit code."""
    # What is left to do does not depend on being heard.
    stop.ends_without_reader()
    tell(ending)
    _keep_memory(config, attunement.optimizer_memory())
    verdict = _last_verdict(config, attunement.ledger.head(), stop)
    desk = attunement.desk
    for answer in desk.answers:
        tell(str(answer))
    if desk.waiting:
        tell(f"error: orders not carried out to their end: {desk.waiting}")
    is_doubted = verdict is not None and not verdict.is_verified
    if is_doubted or desk.is_refused or desk.waiting:
        return EXIT_REFUSED
    if side.faults:
        return complain("\n".join(side.faults), EXIT_ERROR)
    if verdict is None:
        return EXIT_ERROR
    return EXIT_LATCHED if attunement.kernel.mode in (Mode.FROZEN, Mode.EMERGENCY) and not is_endless else 0


def _last_verdict(config: Config, head: ledger.Head, stop: Stop) -> LedgerVerdict | None:
    """Verify the ledger of a run and say what was found; None if a further signal ended that."""
    folder, heard = Path(config.logging.audit_ledger_path), stop.signals
    try:
        verdict = verified(
            folder, first_public_key(config, folder), head, is_wanted=lambda: stop.signals == heard
        )
    except VerificationEndedError:
        complain(
            f"ledger {folder} was closed and not verified: a further signal came; `ledger verify` does it",
            EXIT_ERROR,
        )
        return None
    tell(verdict.sentence)
    return verdict


def _keep_memory(config: Config, memory: dict[str, Any] | None) -> None:
    # The run went well without it: that it is not kept is said, and is no failure.
    path = config.optimizer.memory_path
    if path is None:
        return
    try:
        write_memory(Path(path), config, memory)
    except OptimizerMemoryError as error:
        complain(str(error), EXIT_ERROR)


def _view(
    config: Config, plain: bool, as_json: bool, total: int | None, forecaster: Forecaster | None
) -> View:
    console = RunConsole()
    if as_json:
        return JsonView(console)
    # A log on the same terminal would tear the screen.
    logs_here = config.logging.format is not None and config.logging.file is None and sys.stderr.isatty()
    if plain or logs_here or not console.is_terminal:
        return PlainView(console)
    return LiveView(console, kernel_limits(config), total, forecaster)


@contextmanager
def _fed(forecaster: Forecaster | None, metrics: Metrics) -> Iterator[tuple[TelemetryFeed, ...]]:
    if forecaster is None:
        yield ()
        return

    def on_fault(said: str) -> None:
        tell(f"error: no more forecasts: {said}")

    feed = TelemetryFeed(forecaster, metrics.on_reports_lost, on_fault)
    try:
        yield (feed,)
    finally:
        feed.close()


@contextmanager
def _served(metrics: Metrics, config: Config) -> Iterator[None]:
    if not config.metrics.enabled:
        yield
        return
    try:
        server = MetricsServer(metrics, config.metrics.host, config.metrics.port)
    except MetricsError as error:
        # Attuning is not given up for want of a port; the scraper sees the target down.
        tell(f"error: no metrics are served: {error}")
        yield
        return
    with server:
        yield


def _rows_as_json(results: "proofs.Results") -> list[dict[str, Any]]:
    return [{**attrs.asdict(row), "verdict": row.verdict.value} for row in results.rows]
