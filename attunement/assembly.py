"""A whole attunement from its parts: ledger, kernel, sensors, optimizer and controller."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import attrs

from attunement.acceptance import AcceptanceTest
from attunement.asking import BoundedOptimizer
from attunement.certified import UnverifiedKernelError, doubts
from attunement.config_schema import ROOT, Config, ConfigError
from attunement.controller import ACTOR, LambdaAttunementController
from attunement.governance import KeyAuthority, sign_order
from attunement.journal import Journal, resume_point
from attunement.measurement import Sensors, require_capabilities
from attunement.optimizer_memory import recall
from attunement.policy import kernel_limits
from attunement.telemetry import Subscriber
from kernel import Entry, Limits, Order, Outcome, SafetyKernel
from kernel.safety_kernel import describe
from ledger import Ledger, Signers, SigningKey, VerifyKey
from optimizers import registry
from optimizers.protocol import Optimizer, Space


class PolicyMismatchError(ConfigError):
    """The configuration's limits are not those in force according to the ledger."""


@attrs.frozen
class Signatory:
    """An operator present at the run, who signs its orders."""

    key: SigningKey
    actor: str
    reason: str


class Attunement:
    """Everything that runs, opened and closed as one.

    On a ledger that holds decisions the kernel resumes: an open trial is reverted, latches stay. A policy
    that differs from the one in force needs a signatory.

    Args:
        config: The configuration.
        engine: What is attuned.
        signers: Keys that sign the ledger.
        operator: Public key whose orders count, None when nobody may order.
        signatory: Operator who gives orders in this run, None when there is none.
        subscribers: Told every report.
        allow_unverified: Run a kernel that is not the one the certificate speaks of, and record that.

    Raises:
        UnverifiedKernelError: the kernel is another than the proved one, and that is not allowed.
        ConfigError: the configuration's policy is not well formed.
        LedgerError: the ledger cannot be opened, or is not what was written.
        LedgerUnavailableError: the first decision could not be recorded.
        JournalError: the ledger holds something else than decisions.
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
        operator: VerifyKey | None = None,
        signatory: Signatory | None = None,
        subscribers: Sequence[Subscriber] = (),
        allow_unverified: bool = False,
    ) -> None:
        self._doubts = doubts()
        if self._doubts and not allow_unverified:
            raise UnverifiedKernelError(
                f"{'; '.join(self._doubts)}: `lambda-attunement prove` proves the kernel that is here, "
                "--allow-unverified runs it all the same and says so in the ledger"
            )
        # All that can be found wrong without it comes before the ledger is made and α is applied.
        limits, optimizer = kernel_limits(config), build_optimizer(config)
        is_sound, self.recalled = recall(config.optimizer.memory_path, config, optimizer)
        if not is_sound:
            # Memory that was refused may have left its traces.
            optimizer = build_optimizer(config)
        require_capabilities(engine)
        objective, tolerance = config.objective, config.safety.tolerance
        self._signatory = signatory
        self.ledger = Ledger.open(Path(config.logging.audit_ledger_path), signers)
        try:
            self.kernel = self._kernel(config, limits, engine, KeyAuthority(operator, self._head))
            self._optimizer = BoundedOptimizer(optimizer, config.optimizer.ask_timeout)
            self.controller = LambdaAttunementController(
                engine,
                Sensors(engine, objective.coherence_window, objective.rho, self.kernel.state.cycle),
                self.kernel,
                self._optimizer,
                AcceptanceTest(None if tolerance == "auto" else tolerance, self.kernel.limits.tolerance_max),
                config.settle_delay,
                config.safety.trial_deadline,
                subscribers,
            )
        except BaseException:
            self.ledger.close()
            raise

    def approve(self) -> Entry:
        """Have the signatory approve leaving FROZEN or EMERGENCY, on the newest reading.

        Raises:
            MeasurementError: there is no reading yet.
            PolicyMismatchError: there is no signatory.
        """
        return self.controller.approve(self._order("approve", ()))

    def optimizer_memory(self) -> dict[str, Any] | None:
        """Return, once after closing, what the optimizer remembers; None if it does not tell."""
        return self._optimizer.memory()

    def close(self) -> None:
        """Revert an open trial, stop following the engine and close the ledger."""
        try:
            self.controller.stop()
        finally:
            self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _kernel(self, config: Config, limits: Limits, engine: Any, authority: KeyAuthority) -> SafetyKernel:
        journal, deadline_s = Journal(self.ledger), config.safety.trial_deadline
        resume = resume_point(self.ledger.records())
        if resume is None:
            return SafetyKernel.start(
                limits,
                config.alpha_initial,
                journal,
                engine,
                authority,
                deadline_s,
                actor=ACTOR,
                reason=self._with_doubts("first start"),
            )
        state, in_force = resume
        kernel = SafetyKernel(in_force, state, journal, engine, authority, deadline_s)
        if limits != in_force and self._signatory is None:
            raise PolicyMismatchError(*_differences(limits, in_force))
        kernel.recover(ACTOR, self._with_doubts("restart"))
        if limits != in_force:
            entry = kernel.set_limits(self._order("set_limits", tuple(limits)), limits)
            if entry.verdict.outcome is not Outcome.ADOPTED:
                raise PolicyMismatchError(*describe(entry.verdict))
        return kernel

    def _order(self, action: str, subject: tuple[int, ...]) -> Order:
        if self._signatory is None:
            raise PolicyMismatchError(f"{action} needs an operator's key, actor and reason")
        order = Order(action, subject, self._signatory.actor, self._signatory.reason, signature="")
        return sign_order(self._signatory.key, order, self._head())

    def _with_doubts(self, reason: str) -> str:
        return "; kernel not verified: ".join([reason, *self._doubts[:1]])

    def _head(self) -> str:
        return self.ledger.head().hash_hex


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
    return registry.create(config.optimizer.name if config.enabled else "hold", space, settings)


def _differences(wanted: Limits, in_force: Limits) -> tuple[str, ...]:
    pairs = zip(Limits._fields, wanted, in_force, strict=True)
    return tuple(
        f"{ROOT} gives {name} = {one:,} in units of 1e-9 or counts, the ledger's policy has {other:,}: "
        "an operator must adopt the change"
        for name, one, other in pairs
        if one != other
    )
