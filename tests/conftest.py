"""A scripted engine and optimizer, and the loop of real parts around them."""

import importlib.util
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from functools import partial
from math import nan, sqrt
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, settings
from ledger_bench import signers_of

from attunement.acceptance import AcceptanceTest
from attunement.asking import BoundedOptimizer
from attunement.charter import Charter, Operator
from attunement.cli import _exit_code
from attunement.config_schema import Config
from attunement.controller import LambdaAttunementController
from attunement.engine_protocol import SCALES, ScaleGain
from attunement.governance import Governance, GovernedJournal, kernel_order
from attunement.measurement import Sensors, newest_psi
from attunement.order import Action, sign_order
from attunement.order_desk import LEAVE, OrderDesk
from attunement.policy import kernel_limits
from attunement.telemetry import CycleReport
from kernel import Order, Outcome, SafetyKernel
from ledger import Kind as RecordKind
from ledger import (
    Ledger,
    NoteSigner,
    Record,
    Signers,
    SigningKey,
    Verdict,
    generate,
    load_private,
    read_records,
    verify,
)
from optimizers.protocol import HOLD
from optimizers.protocol import Outcome as Told

NIGHTLY = "crosshair"
"""The profile under which CrossHair chooses the inputs of the properties marked for it."""

NIGHTLY_EXAMPLES = 10
"""Paths that CrossHair may follow in one property; it gives up on a path after 2.5 seconds."""

HAS_CROSSHAIR = importlib.util.find_spec("hypothesis_crosshair_provider") is not None

SERVICES_ARE_INSTALLED = os.environ.get("SERVICES_ARE_INSTALLED") == "1"
"""Whether `.ci/services` has run: then a test whose program is missing fails instead of being skipped."""

# Why a test may be skipped even so: rights that the machine does not give, and data that are not shipped.
MAY_SKIP = re.compile(
    "root may|only root|root passes|be mounted here|be listened at here|the vectors are|the recorded trace is"
)

# A shell without job control has what it starts in the background ignore SIGINT, and so whatever that starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's affair, and no verdict on what is tested.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
settings.register_profile(
    NIGHTLY,
    backend="crosshair" if HAS_CROSSHAIR else "hypothesis",
    max_examples=NIGHTLY_EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip all under the nightly profile where CrossHair's backend is missing: chance is no stand-in."""
    if config.getoption("--hypothesis-profile") == NIGHTLY and not HAS_CROSSHAIR:
        for item in items:
            item.add_marker(pytest.mark.skip("hypothesis-crosshair is not installed (extra: nightly)"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a test that was skipped for a program that should be there: nobody reads why tests are skipped."""
    report = yield
    if SERVICES_ARE_INSTALLED and report.skipped and isinstance(report.longrepr, tuple):
        _, _, reason = report.longrepr
        if not MAY_SKIP.search(reason):
            report.outcome, report.longrepr = "failed", f"may not be skipped here: {reason}"
    return report


class ScriptedEngine:
    """An engine whose every answer a test sets: a figure, a function of its α, or an error to raise."""

    def __init__(self, **answers: Any) -> None:
        self.coherence: Any = 0.5
        self.entropy_rate: Any = 0.0
        self.h_internal: Any = 1.0
        self.drive: Any = 0.1
        self.loop_gain: Any = 0.2
        self.lambda_value: Any = 0.5
        self.psi: Any = 0.9
        self.applied: list[float] = []
        self.refuses: Callable[[float], bool] = lambda alpha: False
        self.cycle: Any = 0
        self.cycle_alpha: Any = nan
        self.callbacks: list[Callable[[], None]] = []
        for name, answer in answers.items():
            setattr(self, name, answer)

    def run_cycle(self) -> None:
        self.cycle += 1
        self.cycle_alpha = self.applied[-1]
        for callback in self.callbacks:
            callback()

    def run(self, cycles: int) -> None:
        for _ in range(cycles):
            self.run_cycle()

    def on_cycle_end(self, callback: Callable[[], None]) -> None:
        self.callbacks.append(callback)

    def set_alpha_multiplier(self, alpha: float) -> None:
        if self.refuses(alpha):
            raise OSError(f"engine cannot take {alpha}")
        self.applied.append(alpha)

    def sample_omega_snapshot(self) -> list[list[float]]:
        return [[sqrt(self._answer(self.coherence))]]

    def normalize_C(self, c: float) -> float:
        return c

    def get_entropy_rate(self) -> Any:
        return self._answer(self.entropy_rate)

    def get_h_internal(self) -> Any:
        return self._answer(self.h_internal)

    def get_gains(self) -> Mapping[str, ScaleGain]:
        gain = ScaleGain(self._answer(self.drive), self._answer(self.loop_gain))
        return dict.fromkeys(SCALES, gain)

    def get_lambda(self, scale: str) -> Any:
        return self._answer(self.lambda_value)

    def get_psi(self) -> Any:
        return self._answer(self.psi)

    def _answer(self, scripted: Any) -> Any:
        if isinstance(scripted, BaseException):
            raise scripted
        return scripted(self.cycle_alpha) if callable(scripted) else scripted


class PolledEngine(ScriptedEngine):
    """One that calls nobody at the end of a cycle."""

    on_cycle_end = None  # type: ignore[assignment]


class Wishes:
    """Answers from a list, then holds: values as they are, errors are raised, functions called."""

    name = "wishes"

    def __init__(self, *answers: Any, mode: Any = "gradient", gradient: Any = None) -> None:
        self.answers = list(answers)
        self.mode = mode
        self.gradient = gradient
        self.told: list[Told] = []

    def tell(self, outcome: Told) -> None:
        self.told.append(outcome)

    def ask(self) -> Any:
        answer = self.answers.pop(0) if self.answers else HOLD
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, object]) -> None:
        """Nothing is remembered."""


@attrs.define
class Loop:
    """A controller with its real kernel and ledger on a scripted engine."""

    engine: Any
    optimizer: Any
    kernel: SafetyKernel
    controller: LambdaAttunementController
    ledger: Ledger
    path: Path
    key: SigningKey
    operator: SigningKey
    reports: list[CycleReport]
    governance: Governance
    desk: OrderDesk
    broken: bool = False

    def outcomes(self) -> list[Outcome]:
        """Every decision that was reported, in order."""
        return [entry.verdict.outcome for report in self.reports for entry in report.entries]

    def signed(self, action: str, *subject: int, key: SigningKey | None = None) -> Order:
        """What the kernel is asked on the strength of an operator's order at the ledger's present head."""
        leave = LEAVE.get(self.kernel.mode, Action.APPROVE)
        asked = {"approve": leave, "override": Action.OVERRIDE, "set_limits": Action.POLICY}[action]
        drafted = self.governance.draft(asked, subject, "ines", "test order")
        return kernel_order(sign_order(key or self.operator, drafted), subject)

    def decisions(self) -> list[tuple[str, str]]:
        """Event and verdict of every decision in the ledger, in order."""
        bodies = entry_bodies(self.path)
        return [(str(body["event"]), str(body["verdict"])) for body in bodies if "after" in body]

    def close(self) -> None:
        """Stop, and hold the ledger against its key; a loop that a test broke is only closed."""
        if self.broken:
            self.ledger.close()
            return
        self.controller.stop()
        self.ledger.close()
        report = verify(self.path, self.key.verify_key, anchor=self.ledger.head())
        assert report.verdict is Verdict.VERIFIED, report.finding


class Reports(list[CycleReport]):
    def on_report(self, report: CycleReport) -> None:
        self.append(report)


def entry_bodies(records: Path | Iterable[Record]) -> list[dict[str, Any]]:
    found = read_records(records) if isinstance(records, Path) else records
    return [record.body for record in found if record.kind is RecordKind.ENTRY]


@pytest.fixture
def bodies() -> Callable[[Path], list[dict[str, Any]]]:
    """The decisions in a ledger, oldest first."""
    return lambda path: [body for body in entry_bodies(path) if "after" in body]


@pytest.fixture
def scripted_engine() -> type[ScriptedEngine]:
    return ScriptedEngine


@pytest.fixture
def polled_engine() -> type[PolledEngine]:
    return PolledEngine


@pytest.fixture
def wishes() -> type[Wishes]:
    return Wishes


@pytest.fixture
def signing_key() -> SigningKey:
    return SigningKey(bytes(range(32)))


@pytest.fixture
def signers(signing_key: SigningKey) -> Signers:
    return signers_of(signing_key)


@pytest.fixture
def operator_key() -> SigningKey:
    return SigningKey(bytes(range(100, 132)))


@pytest.fixture
def charter(operator_key: SigningKey) -> Charter:
    return Charter((Operator("ines", operator_key.verify_key),))


@pytest.fixture
def attune(
    tmp_path: Path,
    signing_key: SigningKey,
    signers: Signers,
    operator_key: SigningKey,
    charter: Charter,
) -> Iterator[Callable[..., Loop]]:
    """Return a function that builds a loop; each is stopped and its ledger verified at the end."""
    loops: list[Loop] = []

    def build(
        engine: Any,
        optimizer: Any,
        *,
        settle_delay_s: float = 0.0,
        deadline_s: float = 5.0,
        timeout_s: float = 2.0,
        tolerance: float | None = None,
        subscribers: tuple[Any, ...] = (),
        watchers: tuple[Any, ...] = (),
        charter: Charter = charter,
        first_cycle: int = 0,
        **limits: int,
    ) -> Loop:
        path = tmp_path / f"loop-{len(loops)}"
        ledger = Ledger.open(path, signers, sync=lambda descriptor: None)
        policy = kernel_limits(Config())._replace(**limits)
        governance = Governance(ledger, charter, partial(newest_psi, engine), watchers)
        for record in governance.followed(ledger.records()):
            assert record.kind is RecordKind.GENESIS
        kernel = SafetyKernel.start(
            policy,
            1.0,
            GovernedJournal(governance),
            engine,
            governance,
            deadline_s,
            actor="test",
            reason="first start",
        )
        reports, desk = Reports(), OrderDesk(kernel, governance)
        controller = LambdaAttunementController(
            engine,
            Sensors(engine, 1, 0.0, first_cycle),
            kernel,
            BoundedOptimizer(optimizer, timeout_s),
            AcceptanceTest(tolerance, policy.tolerance_max),
            settle_delay_s,
            deadline_s,
            (reports, *subscribers),
            desk,
        )
        keys = (signing_key, operator_key)
        loops.append(
            Loop(engine, optimizer, kernel, controller, ledger, path, *keys, reports, governance, desk)
        )
        return loops[-1]

    yield build
    for loop in loops:
        loop.close()


@attrs.frozen
class Site:
    """A folder with the keys of a ledger and of an operator, and a configuration that uses them."""

    folder: Path

    @property
    def ledger(self) -> Path:
        return self.folder / "var" / "ledger.log"

    @property
    def key(self) -> Path:
        return self.folder / "ledger.key"

    @property
    def journal(self) -> Path:
        return self.ledger / "journal"

    @property
    def log_key(self) -> Path:
        return self.folder / "log.key"

    @property
    def signers(self) -> Signers:
        """The keys with which the command line writes."""
        return Signers(
            load_private(self.key), NoteSigner(Config().logging.origin, load_private(self.log_key))
        )

    @property
    def operator(self) -> Path:
        return self.folder / "operator.key"

    @property
    def orders(self) -> tuple[str, ...]:
        """The flags of a run at which the operator is present."""
        return ("--operator-key", str(self.operator), "--actor", "ines", "--reason", "storm is over")

    def config(self, **changes: Any) -> str:
        """Write a configuration, and return its path; a section that is given replaces single keys only."""
        document: dict[str, Any] = {
            "settle_delay": 0,
            "cycles": 30,
            "source": {"nodes": 16},
            "metrics": {"enabled": False},
            "logging": {
                "audit_ledger_path": str(self.ledger),
                "key_path": str(self.key),
                "log_key_path": str(self.log_key),
            },
            "governance": {"operators": [{"name": "ines", "key_path": f"{self.operator}.pub"}]},
        }
        for name, change in changes.items():
            is_section = isinstance(document.get(name), dict) and isinstance(change, dict)
            document[name] = {**document[name], **change} if is_section else change
        path = self.folder / "attunement.yaml"
        # Every JSON text is a YAML text.
        path.write_text(json.dumps({"attunement": document}), encoding="utf-8")
        return str(path)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    for private in (made.key, made.log_key, made.operator):
        generate(private, f"{private}.pub")
    return made


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the configuration and the terminal of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith("ATTUNEMENT__") or name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name)


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command line, and gives its exit code, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str, str]:
        code = _exit_code([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Return a function that waits until something holds, and fails when it never does."""

    def wait(condition: Callable[[], bool]) -> None:
        never = threading.Event()
        for _ in range(4000):
            if condition():
                return
            never.wait(0.005)
        raise AssertionError("waited for twenty seconds in vain")

    return wait
