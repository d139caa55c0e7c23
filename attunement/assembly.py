"""A whole attunement from its parts: ledger, kernel, sensors, optimizer and controller."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from attunement.acceptance import AcceptanceTest
from attunement.asking import BoundedOptimizer, release
from attunement.certified import UnverifiedKernelError, doubts
from attunement.charter import NOBODY, Charter
from attunement.config_schema import ROOT, Config, ConfigError
from attunement.controller import ACTOR, LambdaAttunementController
from attunement.escalation import Escalation, Hook, command_hook
from attunement.governance import Governance, GovernedJournal, RecordWatcher, follow
from attunement.heads import configured_head_store
from attunement.isolated import Confinement, IsolatedOptimizer
from attunement.journal import resume_point
from attunement.key_files import first_key
from attunement.measurement import Sensors, newest_psi, require_capabilities
from attunement.optimizer_memory import recall
from attunement.order import Action, SignedOrder
from attunement.order_book import Commit, OrderBook
from attunement.order_desk import LEAVE, OrderDesk, PolicyMismatchError, Signatory
from attunement.policy import kernel_limits
from attunement.snapshot import Snapshot, SnapshotError
from attunement.telemetry import Subscriber
from attunement.telemetry_body import tellable
from kernel import Limits, SafetyKernel, State
from kernel.quantity import to_float
from ledger import HeadStore, Ledger, PrefixError, Signers, Verdict, read_records, verify
from optimizers import registry
from optimizers.protocol import Optimizer, Space


class Attunement:
    """Everything that runs, opened and closed as one.

    On a ledger that holds decisions the kernel resumes: an open trial is reverted, latches stay. A policy
    that differs from the one in force needs an order that adopts it, or a signatory: at the first reading the
    signatory approves leaving a latch that was there at the start, and adopts the policy.

    Args:
        config: The configuration.
        engine: What is attuned.
        signers: Keys that sign the ledger.
        charter: Who may order.
        signatory: Operator who is present, None when there is none.
        orders: Signed orders, carried out at the first readings.
        subscribers: Told every report.
        watchers: Told every record of governance.
        hook: Told every alert; None runs the configuration's command, if there is one.
        allow_unverified: Run a kernel that is not the one the certificate speaks of, and record that.
        snapshot: Where the ledger stood, so that what came before need not be verified and read again. If
            the ledger does not begin as it says, the whole ledger is verified and the snapshot counts for
            nothing; `snapshot_refused` then says why.

    Raises:
        UnverifiedKernelError: the kernel is another than the proved one, and that is not allowed.
        ConfigError: the configuration's policy is not well formed, an operator's key is the ledger's, or the
            store of heads is of no known kind.
        LedgerError: the ledger cannot be opened, or is not what was written.
        LedgerUnavailableError: the first decision could not be recorded.
        JournalError: the ledger holds something else than decisions and orders.
        PolicyMismatchError: the policy differs from the one in force, and no order adopts it.
        EngineCapabilityError: a check of the kernel could not be made on this engine.
        ActuatorError: the engine did not take the first α.
        UnknownOptimizerError, OptimizerSettingError: the optimizer cannot be made.
    """

    def __init__(
        self,
        config: Config,
        engine: Any,
        signers: Signers,
        charter: Charter = NOBODY,
        signatory: Signatory | None = None,
        subscribers: Sequence[Subscriber] = (),
        orders: Sequence[SignedOrder] = (),
        watchers: Sequence[RecordWatcher] = (),
        hook: Hook | None = None,
        allow_unverified: bool = False,
        snapshot: Snapshot | None = None,
    ) -> None:
        self._doubts = doubts()
        if self._doubts and not allow_unverified:
            raise UnverifiedKernelError(
                f"{'; '.join(self._doubts)}: `lambda-attunement prove` proves the kernel that is here, "
                "--allow-unverified runs it all the same and says so in the ledger"
            )
        # All that can be found wrong without it comes before the ledger is made and α is applied.
        limits, optimizer = kernel_limits(config), build_optimizer(config)
        try:
            is_sound, self.recalled = recall(config.optimizer.memory_path, config, optimizer)
            if not is_sound:
                # Memory that was refused may have left its traces.
                release(optimizer)
                optimizer = build_optimizer(config)
            require_capabilities(engine)
            _require_keys_apart(charter, signers)
        except BaseException:
            release(optimizer)
            raise
        objective, tolerance = config.objective, config.safety.tolerance
        is_adopted_here = signatory is not None or any(_adopts(order, limits) for order in orders)
        self._folder = Path(config.logging.audit_ledger_path)
        self._resources = ExitStack()
        try:
            heads = self._resources.enter_context(configured_head_store(config))
            opened = _opened(self._folder, signers, heads, snapshot)
            self.ledger, self._snapshot, self.snapshot_refused = opened
            self._resources.callback(self.ledger.close)
            self.governance = Governance(self.ledger, charter, partial(newest_psi, engine), watchers)
            self.kernel = self._kernel(config, limits, engine, is_adopted_here)
            self.governance.adopt_charter(ACTOR)
            self.desk = self._desk(limits, signatory, orders)
            self._escalation = _escalation(config, self.governance, hook)
            self._optimizer = BoundedOptimizer(optimizer, config.optimizer.ask_timeout)
            self.controller = LambdaAttunementController(
                engine,
                Sensors(engine, objective.coherence_window, objective.rho, self.kernel.state.cycle),
                self.kernel,
                self._optimizer,
                AcceptanceTest(None if tolerance == "auto" else tolerance, self.kernel.limits.tolerance_max),
                config.settle_delay,
                config.safety.trial_deadline,
                (*subscribers, self._escalation),
                self.desk,
            )
        except BaseException:
            release(optimizer)
            self._resources.close()
            raise

    def optimizer_memory(self) -> dict[str, Any] | None:
        """Return, once after closing, what the optimizer remembers; None if it does not tell."""
        return self._optimizer.memory()

    def reconfigure(self, config: Config) -> None:
        """Take in what a configuration says of alerts; all else stays as it was at the start."""
        self._escalation.reconfigure(config.governance.escalation)

    def close(self) -> None:
        """Revert an open trial, stop following the engine, wait for the hooks and close the ledger."""
        try:
            self.controller.stop()
        finally:
            self._escalation.close()
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kernel(self, config: Config, limits: Limits, engine: Any, is_adopted_here: bool) -> SafetyKernel:
        journal, deadline_s = GovernedJournal(self.governance), config.safety.trial_deadline
        resume = self._resume_point()
        if resume is None:
            alpha, reason = _first_alpha(config)
            return SafetyKernel.start(
                limits,
                alpha,
                journal,
                engine,
                self.governance,
                deadline_s,
                actor=ACTOR,
                reason=self._with_doubts(reason),
            )
        state, in_force = resume
        _require_applicable(state)
        if limits != in_force and not is_adopted_here:
            raise PolicyMismatchError(*_differences(limits, in_force))
        kernel = SafetyKernel(in_force, state, journal, engine, self.governance, deadline_s)
        kernel.recover(ACTOR, self._with_doubts("restart"))
        return kernel

    def _resume_point(self) -> tuple[State, Limits] | None:
        if self._snapshot is None:
            return resume_point(self.governance.followed(self.ledger.records()))
        return self._snapshot.resume(self._folder, self.ledger.head().sequence, self.governance.book)

    def _with_doubts(self, reason: str) -> str:
        return "; kernel not verified: ".join([reason, *self._doubts[:1]])

    def _desk(self, limits: Limits, signatory: Signatory | None, orders: Sequence[SignedOrder]) -> OrderDesk:
        mode, is_changed = self.kernel.mode, limits != self.kernel.limits
        desk = OrderDesk(self.kernel, self.governance, limits if is_changed else None)
        desk.submit(orders)
        if signatory is not None:
            if mode in LEAVE:
                desk.have_signed(signatory, LEAVE[mode])
            if is_changed:
                desk.have_signed(signatory, Action.POLICY, tuple(limits))
        return desk


def build_optimizer(config: Config) -> Optimizer:
    """Return the optimizer that a configuration names; one that holds still when attunement is not enabled.

    Raises:
        UnknownOptimizerError, OptimizerSettingError: it cannot be made.
    """
    space = Space(config.alpha_min, config.alpha_max, config.delta_alpha_max)
    settings: dict[str, object] = {
        "lr": config.lr,
        "momentum": config.momentum,
        "epsilon": config.epsilon,
        "gradient_averaging_window": config.gradient_averaging_window,
        "seed": config.optimizer.seed,
        **config.optimizer.settings,
    }
    if not config.enabled:
        return registry.create("hold", space, settings)
    chosen = config.optimizer
    if not chosen.isolate:
        return registry.create(chosen.name, space, settings)
    # A cycle tells and asks: both answers have to come before the controller gives the optimizer up.
    confinement = Confinement(chosen.memory_max << 20, chosen.cpu_max, 0.45 * chosen.ask_timeout)
    return IsolatedOptimizer(chosen.name, space, settings, confinement)


def persisted_alpha(folder: Path) -> Commit | None:
    """Return the α that an order made the one to begin at, None if there is none or no ledger.

    Signatures are not checked: that is `verify`.

    Raises:
        LedgerReadError, LedgerTamperedError: the ledger cannot be read.
        JournalError: a record says that it holds an order, and does not.
    """
    if not folder.exists():
        return None
    book = OrderBook(order_ttl_s=0.0)
    for record in read_records(folder):
        follow(book, record)
    return book.initial


def _first_alpha(config: Config) -> tuple[float, str]:
    if config.governance.predecessor is None:
        return config.alpha_initial, "first start"
    folder = Path(config.governance.predecessor)
    report = verify(folder, first_key(Path(config.logging.key_path), folder))
    if report.verdict not in (Verdict.VERIFIED, Verdict.NO_ANCHOR):
        raise ConfigError(
            f"{ROOT}.governance.predecessor: {folder}: {report.verdict.value}: {report.finding}"
        )
    persisted = persisted_alpha(folder)
    if persisted is None:
        return config.alpha_initial, "first start"
    head = "" if report.head is None else f"{report.head.sequence}:{report.head.hash_hex}"
    return to_float(persisted.alpha), f"first start at the α persisted in the ledger with head {head}"


def _opened(
    folder: Path, signers: Signers, heads: HeadStore | None, snapshot: Snapshot | None
) -> tuple[Ledger, Snapshot | None, str]:
    refused = ""
    if snapshot is not None:
        try:
            known = snapshot.prefix(signers.records.verify_key)
            return Ledger.open(folder, signers, head_store=heads, known=known), snapshot, ""
        except (PrefixError, SnapshotError) as error:
            refused = str(error)
    return Ledger.open(folder, signers, head_store=heads), None, refused


def _require_applicable(state: State) -> None:
    with tellable("where the ledger leaves α"):
        for alpha in (state.alpha, state.good):
            to_float(alpha)


def _adopts(order: SignedOrder, limits: Limits) -> bool:
    return order.terms.action is Action.POLICY and order.terms.subject == tuple(limits)


def _escalation(config: Config, governance: Governance, hook: Hook | None) -> Escalation:
    settings = config.governance.escalation
    return Escalation(settings, governance.append, hook or command_hook(settings))


def _require_keys_apart(charter: Charter, signers: Signers) -> None:
    for operator in charter.operators:
        if operator.key in (signers.records.verify_key, signers.log.key.verify_key):
            raise ConfigError(
                f"{ROOT}.governance.operators: the key of {operator.name} signs the ledger, must be another"
            )


def _differences(wanted: Limits, in_force: Limits) -> tuple[str, ...]:
    pairs = zip(Limits._fields, wanted, in_force, strict=True)
    return tuple(
        f"{ROOT} gives {name} = {one:,} in units of 1e-9 or counts, the ledger's policy has {other:,}: "
        "an operator must adopt the change"
        for name, one, other in pairs
        if one != other
    )
