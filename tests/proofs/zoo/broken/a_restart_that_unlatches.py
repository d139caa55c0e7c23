"""only_an_authorised_approval_unlatches: a restart that unlatches."""

from kernel.rules import READY, TRIAL, Outcome, State, Transition, Verdict, _keep


def recover(state: State) -> Transition:
    """Resume after a restart: an open trial is reverted, every latch is kept."""
    if state.mode == TRIAL:
        return _keep(state, state.resume, state.good), Verdict(Outcome.RECOVERED)
    return _keep(state, READY, state.alpha), Verdict(Outcome.RECOVERED)
