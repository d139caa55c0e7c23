"""The real loop, killed at any moment and started again: no α without record, no decision but the rules."""

import json
import os
import random
import subprocess

from cli_bench import PROGRAM

from attunement.order_audit import OrderAuditor
from attunement.replay import Replay
from ledger import Verdict, load_private, read_records, verify

STORM = {"kind": "partition", "start": 40, "length": 6, "magnitude": 0.3, "share": 0.3}


def killed_after(lines, config):
    """Run until so many cycles were told and a moment more, kill, and return the α of each cycle told."""
    process = subprocess.Popen(
        [*PROGRAM, "run", "--config", config, "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        told = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        told += process.stdout.readlines()
    return [json.loads(line)["alpha"] for line in told if line.endswith("\n")]


def test_whatever_moment_the_loop_is_killed_at(site):
    moments = random.Random(4)
    key = load_private(site.key).verify_key
    for done in range(int(os.environ.get("LEDGER_KILL_ROUNDS", "50"))):
        # A new ledger now and then: each round reads all of it.
        folder = site.folder / f"ledger-{done // 5}"
        paths = {
            "audit_ledger_path": str(folder),
            "key_path": str(site.key),
            "log_key_path": str(site.log_key),
        }
        source = {"nodes": 16, "shocks": [STORM]}
        config = site.config(cycles=None, settle_delay=0, source=source, logging=paths)
        alphas = killed_after(moments.randrange(1, 60), config)
        records = list(read_records(folder))
        recorded = {record.body.get("new_alpha") for record in records}
        assert {round(alpha * 1e9) for alpha in alphas} <= recorded
        assert verify(folder, key).verdict in (Verdict.NO_ANCHOR, Verdict.TORN_TAIL)
        assert list(Replay(OrderAuditor(None)).run(records)) == []
