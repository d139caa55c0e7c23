"""python -m examples.live_service: measure fixed settings, attune, and write the report.

It takes about seven minutes a round: the settings of the grid one after the other, then the
calibration and the attuned run. Exit code 3 if the acceptance does not hold in every round.
"""

import argparse
import json
import sys
from pathlib import Path

import attrs
from rich.console import Console

from examples.live_service.campaign import Plan, as_json, run_rounds
from examples.live_service.report import accepted, write
from examples.live_service.server import Settings

EXIT_REFUSED = 3


def main() -> int:
    """Run the campaign."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--optimizer", default=Plan().optimizer)
    parser.add_argument("--out", type=Path, default=Path("build/live_service"))
    options = parser.parse_args()
    plan = attrs.evolve(Plan(), optimizer=options.optimizer)
    console = Console(stderr=True)
    rounds = run_rounds(plan, Settings(), options.rounds, on_progress=console.print)
    write(rounds, plan, options.out)
    figures = json.dumps({"plan": attrs.asdict(plan), "rounds": as_json(rounds)}, indent=1)
    (options.out / "live_service.json").write_text(figures + "\n", encoding="utf-8")
    console.print(f"report in {options.out / 'live_service_report.md'}")
    return 0 if all(all(accepted(one).values()) for one in rounds) else EXIT_REFUSED


if __name__ == "__main__":
    sys.exit(main())
