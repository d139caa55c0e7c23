"""A signal ends a run whatever the run is doing when it comes."""

import json
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from attunement.running import Stop

# Each round stops a loop that does nothing but wait, at a moment of its own.
ROUNDS = """
import signal, threading, time
from attunement.running import run_cycles, stopped_by_signals

class Engine:
    def run_cycle(self):
        pass

def kill(after_s):
    time.sleep(after_s)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)

for number in range(300):
    with stopped_by_signals() as stop:
        killer = threading.Thread(target=kill, args=(0.001 + number * 1e-6,))
        killer.start()
        assert run_cycles(Engine(), None, 0.0, stop).cause == "stopped"
        killer.join()
print("done")
"""


def test_a_signal_at_any_moment_ends_the_run():
    command = [sys.executable, "-c", ROUNDS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "done\n", done.stderr


def test_a_stop_ends_a_wait_and_every_wait_after_it():
    stop = Stop()
    assert not stop.wait(0.0)
    setter = threading.Timer(0.05, stop.set)
    begun = time.monotonic()
    setter.start()
    assert stop.wait(60.0)
    assert stop.wait(60.0)
    assert time.monotonic() - begun < 60.0
    assert stop.is_set()
    setter.join()


def test_a_wait_without_a_stop_ends_at_its_time():
    assert not Stop().wait(0.01)


# A module is interrupted as it is looked for, under the name that the program goes by.
INTERRUPTED = """
import json, os, runpy, signal, sys

module, sys.argv[1] = sys.argv[1], "--version"

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
if json.loads(os.environ["BY_NAME"]):
    from attunement.__main__ import main
    main()
runpy.run_module("attunement", run_name="__main__")
"""


@pytest.mark.parametrize("by_name", [True, False], ids=["as a script", "by -m"])
@pytest.mark.parametrize("module", ["attunement.cli", "click", "numpy", "kernel.rules"])
def test_an_interruption_while_the_program_is_loaded_is_said_in_words(module, by_name):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module],
        env={"BY_NAME": json.dumps(by_name)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "error: interrupted\n")


def test_an_interruption_after_the_command_is_said_in_words():
    program = (
        "import os, signal, sys; from attunement import cli; sys.argv[1:] = ['--version']; "
        "cli.flush = lambda: os.kill(os.getpid(), signal.SIGINT); cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (1, "error: interrupted\n")


def test_an_interruption_that_is_ignored_stays_ignored():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, "numpy"],
        env={"BY_NAME": "true"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_installed_program_begins_where_the_module_does():
    pyproject = Path(__file__).parents[2] / "pyproject.toml"
    scripts = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"lambda-attunement": "attunement.__main__:main"}
