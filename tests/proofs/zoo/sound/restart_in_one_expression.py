"""recover: a restart, written as one choice of mode and α."""

from kernel.rules import TRIAL, Outcome, State, Transition, Verdict, _keep


def recover(state: State) -> Transition:
    mode = state.resume if state.mode == TRIAL else state.mode
    return _keep(state, mode, state.good), Verdict(Outcome.RECOVERED)
