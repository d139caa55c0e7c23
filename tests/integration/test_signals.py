"""A signal ends a run whatever the run is doing when it comes."""

import subprocess
import sys
import threading
import time

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
