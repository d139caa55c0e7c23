"""freeze: a freeze, written by the modes in which there is nothing to stop."""

from kernel.rules import EMERGENCY, FROZEN, READY, REFUSED, Outcome, State, Transition, Verdict, _keep, _mode


def freeze(state: State) -> Transition:
    if state.mode == FROZEN or state.mode == EMERGENCY:
        return state, Verdict(REFUSED, (_mode(state, READY, READY),))
    return _keep(state, FROZEN, state.good), Verdict(Outcome.FROZEN)
