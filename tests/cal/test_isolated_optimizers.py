"""Optimizers of other packages, in this process and in one of their own: a fault costs one refused cycle."""

import json
import os
import sys
import textwrap
import time

import attrs
import pytest

from attunement.asking import BoundedOptimizer, Fault
from attunement.assembly import Attunement, build_optimizer
from attunement.config_schema import Config, OptimizerConfig
from attunement.isolated import Confinement, IsolatedOptimizer, IsolationError
from kernel import ActuatorError
from optimizers import HOLD, Outcome, Space, Suggestion, UnknownOptimizerError, Verdict, create, plugins, wire
from optimizers.errors import OptimizerSettingError, OptimizerStateError
from optimizers.isolated_child import Host
from optimizers.wire import WireError

SPACE = Space(0.8, 1.2, 0.02)
TOLD = Outcome(cycle=1, alpha=1.0, objective=0.5, verdict=Verdict.NONE, committed_alpha=1.0)
LIMITS = Confinement(memory_bytes=512 << 20, cpu_s=60, answer_s=8.0)
HASTY = attrs.evolve(LIMITS, answer_s=1.0)

PACKAGE = textwrap.dedent(
    """
    import os, sys, time
    from optimizers.protocol import HOLD, Suggestion

    class Steady:
        '''Wishes 1.01 for ever; does what its settings say at the ask of that number.'''
        name, mode, gradient = "foreign", "pid", 0.25

        def __init__(self, space, seed, settings):
            self.seed, self.settings, self.asked, self.told = seed, settings, 0, []
            if settings.get("at_start") == "raise":
                raise ValueError("not today")
            if settings.get("at_start") in ("hang", "fail", "die") and os.path.exists(settings["flag"]):
                if settings["at_start"] == "fail":
                    raise ValueError("not again")
                if settings["at_start"] == "die":
                    os._exit(9)
                time.sleep(600)

        def tell(self, outcome):
            self.told.append(outcome)

        def ask(self):
            self.asked += 1
            if self.asked == self.settings.get("at", 1):
                return self.misbehave(self.settings.get("kind", "none"))
            return Suggestion(1.01)

        def misbehave(self, kind):
            if kind == "hang":
                time.sleep(600)
            if kind == "spin":
                while True:
                    pass
            if kind == "raise":
                raise ValueError("boom")
            if kind == "exit":
                os._exit(7)
            if kind == "sys_exit":
                sys.exit(7)
            if kind == "abort":
                os.abort()
            if kind == "hog":
                self.hog = [bytearray(1 << 20) for _ in range(1 << 20)]
            if kind == "print":
                print("hello" * 1000, flush=True)
            if kind == "wire":
                for fd in range(3, 16):
                    try:
                        os.write(fd, b'{"v": 1}\\n' * 1_000_000)
                    except OSError:
                        pass
            if kind == "flood":
                for fd in range(3, 16):
                    try:
                        for _ in range(1_000_000):
                            os.write(fd, b"x" * 65536)
                    except OSError:
                        pass
            if kind == "fork":
                if os.fork() == 0:
                    time.sleep(600)
                open(self.settings["flag"], "w").close()
                time.sleep(600)
            if kind == "hold":
                return HOLD
            return {"nan": Suggestion(float("nan")), "bool": Suggestion(True), "text": "1.01",
                    "huge": Suggestion(10**5000), "probe": Suggestion(1.01, 3)}.get(kind, Suggestion(1.01))

        def state(self):
            if self.settings.get("kind") == "huge state":
                return {"x": "x" * (1 << 21)}
            return {"asked": self.asked}

        def restore(self, state):
            if self.settings.get("at_start") == "forget" and os.path.exists(self.settings["flag"]):
                raise ValueError("forgotten")
            self.asked = state["asked"] + 0

    class Nothing:
        def __init__(self, space, seed, settings):
            pass
    """
)
ENTRIES = """
[lambda_attunement.optimizers]
foreign = foreign_optimizers:Steady
nothing = foreign_optimizers:Nothing
missing = foreign_optimizers_not_there:Steady
hold = foreign_optimizers:Steady
"""


@pytest.fixture(autouse=True)
def package(tmp_path, monkeypatch):
    """A package with its metadata, as an installer lays it down, in a folder of the path."""
    folder = tmp_path / "site"
    info = folder / "foreign_optimizers-2.5.dist-info"
    info.mkdir(parents=True)
    (folder / "foreign_optimizers.py").write_text(PACKAGE, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign-optimizers\nVersion: 2.5\n", "utf-8")
    (info / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    sys.modules.pop("foreign_optimizers", None)


@pytest.fixture
def isolated():
    made = []

    def make(limits=LIMITS, name="foreign", clock=time.monotonic, **settings):
        made.append(IsolatedOptimizer(name, SPACE, settings, limits, clock))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_an_optimizer_of_another_package_is_found_by_name_and_nothing_is_imported():
    found = {plugin.name: plugin for plugin in plugins.plugins()}
    assert found["foreign"] == plugins.Plugin(
        "foreign", "foreign_optimizers:Steady", "foreign-optimizers 2.5"
    )
    assert "foreign_optimizers" not in sys.modules
    made = create("foreign", SPACE, {"seed": 3, "lr": "auto", "own": 1})
    assert (made.seed, made.settings) == (3, {"seed": 3, "lr": "auto", "own": 1})
    assert made.ask() == Suggestion(1.01)


def test_a_name_of_this_package_is_not_taken_over():
    assert type(create("hold", SPACE, {})).__module__ == "optimizers.hold"


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("missing", {}, "missing of foreign_optimizers_not_there:Steady cannot be made: ModuleNotFoundError"),
        ("foreign", {"at_start": "raise"}, "cannot be made: ValueError: not today"),
        ("nothing", {}, "lacks tell, ask, state, restore, mode, gradient, must be an Optimizer"),
        ("foreign", {"seed": "x"}, "seed is 'x', must be an integer"),
    ],
)
@pytest.mark.parametrize("is_isolated", [False, True], ids=["here", "isolated"])
def test_what_cannot_be_made_is_a_setting_error(isolated, is_isolated, name, settings, said):
    make = isolated if is_isolated else lambda name, **settings: create(name, SPACE, settings)
    with pytest.raises(OptimizerSettingError, match=said):
        make(name=name, **settings)


def test_a_name_that_two_packages_offer_is_refused(package):
    info = package / "other-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n", "utf-8")
    (info / "entry_points.txt").write_text(ENTRIES, encoding="utf-8")
    with pytest.raises(
        UnknownOptimizerError, match=r"by one package, is by 2 foreign-optimizers 2\.5, other 1"
    ):
        create("foreign", SPACE, {})


def test_an_unknown_name_is_told_with_those_of_other_packages():
    with pytest.raises(
        UnknownOptimizerError, match="foreign, hold, missing, nothing; the nearest is foreign"
    ):
        create("foriegn", SPACE, {})


def test_an_isolated_optimizer_answers_as_it_would_here(isolated):
    apart, here = isolated(name="supervisor", seed=5), create("supervisor", SPACE, {"seed": 5})
    for cycle in range(1, 60):
        told = attrs.evolve(TOLD, cycle=cycle, objective=0.5 + 0.001 * (cycle % 7))
        apart.tell(told)
        here.tell(told)
        assert apart.ask() == here.ask()
        assert (apart.mode, apart.gradient) == (here.mode, here.gradient)
    assert apart.state() == json.loads(json.dumps(here.state()))


def test_memory_is_told_and_restored(isolated):
    one = isolated()
    one.ask()
    one.ask()
    other = isolated()
    other.restore(one.state())
    assert other.state() == {"asked": 2}
    with pytest.raises(OptimizerStateError, match="asked"):
        other.restore({})


FAULTS = {
    "hang": "gave no answer within 1 s and was killed",
    "spin": "gave no answer within 1 s and was killed",
    "raise": "ValueError: boom",
    "sys_exit": "SystemExit: 7",
    "exit": "ended with exit code 7",
    "abort": "was ended by SIGABRT",
    "hog": "MemoryError",
    "wire": "was killed",
    "flood": "was killed",
    "nan": "alpha is nan, must be a finite number",
    "bool": "alpha is of type bool, must be a finite number",
    "text": "optimizer answered with a str, must be a Suggestion or HOLD",
    "huge": "alpha is of type int, must be a finite number",
    "probe": "probe is of type int, must be true or false",
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_costs_one_refused_cycle_and_nothing_else(
    attune, scripted_engine, isolated, bodies, until, kind
):
    loop = attune(
        scripted_engine(), isolated(HASTY if "1 s" in FAULTS[kind] else LIMITS, kind=kind), timeout_s=30.0
    )
    loop.controller.start()
    loop.engine.run(2)
    refused = [body for body in bodies(loop.path) if body["verdict"] == "refused"]
    assert len(refused) == 1
    assert FAULTS[kind] in refused[0]["reason"]
    if loop.optimizer.pid is not None:
        assert loop.engine.applied == [1.0, 1.01]
        return
    assert loop.engine.applied == [1.0]


def test_a_process_that_was_killed_is_started_anew_and_goes_on(
    attune, scripted_engine, isolated, bodies, until
):
    optimizer = isolated(kind="exit", at=2)
    loop = attune(scripted_engine(), optimizer, timeout_s=30.0)
    loop.controller.start()
    first = optimizer.pid

    def is_back():
        loop.engine.run_cycle()
        return optimizer.pid not in (None, first)

    until(is_back)
    until(lambda: loop.engine.run_cycle() or len(loop.engine.applied) > 2 or optimizer.mode == "pid")
    assert [body["verdict"] for body in bodies(loop.path)].count("refused") == 1
    assert loop.kernel.alpha == 1.01


def test_the_pause_before_a_new_process_doubles_and_it_gets_the_restored_memory(isolated, until):
    now = [100.0]
    optimizer = isolated(clock=lambda: now[0], kind="exit", at=11)
    optimizer.restore({"asked": 10})
    pauses = []
    for _ in range(3):
        with pytest.raises(IsolationError, match="exit code 7"):
            optimizer.ask()
        assert optimizer.pid is None
        assert optimizer.ask() is HOLD
        since = now[0]
        while optimizer.pid is None:
            now[0] += 0.25
            optimizer.tell(TOLD)
        pauses.append(now[0] - since)
        until(lambda: optimizer.tell(TOLD) or optimizer.mode == "pid")
    assert pauses == [0.5, 1.0, 2.0]


def test_a_process_that_is_not_ready_in_time_is_given_up(isolated, tmp_path):
    now = [0.0]
    flag = tmp_path / "flag"
    optimizer = isolated(clock=lambda: now[0], kind="exit", at_start="hang", flag=str(flag))
    flag.touch()
    with pytest.raises(IsolationError):
        optimizer.ask()
    now[0] = 1.0
    assert optimizer.ask() is HOLD
    assert optimizer.pid is not None
    now[0] = 1.0 + LIMITS.start_s
    assert optimizer.ask() is HOLD
    assert optimizer.pid is None
    with pytest.raises(IsolationError, match="not ready"):
        optimizer.state()


@pytest.mark.parametrize("at_start", ["fail", "die", "forget"])
def test_a_process_that_cannot_be_made_anew_is_waited_out(isolated, tmp_path, until, at_start):
    now = [0.0]
    flag = tmp_path / "flag"
    optimizer = isolated(clock=lambda: now[0], kind="exit", at_start=at_start, flag=str(flag))
    optimizer.restore({"asked": 0})
    flag.touch()
    with pytest.raises(IsolationError):
        optimizer.ask()
    for pause_s in (0.5, 1.0):
        now[0] += pause_s
        assert optimizer.ask() is HOLD
        if at_start != "forget":
            until(lambda: optimizer.ask() is HOLD and optimizer.pid is None)
            continue
        until(lambda: optimizer.tell(TOLD) or optimizer._starting is None)
        assert optimizer.pid is not None
        return


def test_the_host_of_a_process_answers_every_request():
    host = Host()
    assert "came before start" in host.answer({"op": "ask"})["fault"]
    start = {
        "op": "start",
        "name": "foreign",
        "space": [0.8, 1.2, 0.02],
        "settings": {"kind": "raise", "at": 2},
    }
    assert host.answer(start) == {"mode": "pid", "gradient": 0.25}
    assert host.answer({"op": "tell", "outcome": wire.told(TOLD)}) == {"mode": "pid", "gradient": 0.25}
    assert host.answer({"op": "ask"})["alpha"] == 1.01
    assert host.answer({"op": "ask"})["fault"] == "ValueError: boom"
    assert host.answer({"op": "state"})["state"] == {"asked": 2}
    assert "fault" not in host.answer({"op": "restore", "state": {"asked": 5}})
    assert host.answer({"op": "state"})["state"] == {"asked": 5}


def test_what_a_killed_process_has_started_is_killed_as_well(isolated, tmp_path, until):
    flag = tmp_path / "forked"
    optimizer = isolated(HASTY, kind="fork", flag=str(flag))
    group = optimizer.pid
    with pytest.raises(IsolationError, match="gave no answer"):
        optimizer.ask()
    assert flag.exists()

    def is_gone():
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return all(_state(pid) in "ZX" for pid in _members(group))

    until(is_gone)


def _members(group):
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and _group(int(name)) == group]


def _fields(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stream:
            return stream.read().rpartition(")")[2].split()
    except OSError:
        return ["X", "0", "0"]


def _group(pid):
    return int(_fields(pid)[2])


def _state(pid):
    return _fields(pid)[0]


def test_the_processor_time_of_a_process_is_limited(isolated):
    optimizer = isolated(Confinement(512 << 20, 2, 20.0), kind="spin")
    with pytest.raises(IsolationError, match=r"was ended by SIG(XCPU|KILL)"):
        optimizer.ask()


def test_what_the_optimizer_prints_is_no_answer(isolated):
    optimizer = isolated(kind="print")
    assert [optimizer.ask(), optimizer.ask()] == [Suggestion(1.01)] * 2


def test_a_process_ends_with_its_pipe_even_while_the_optimizer_hangs(isolated, until):
    optimizer = isolated(Confinement(512 << 20, 60, 0.05), kind="hang")
    child = optimizer._child
    child.send({"op": "ask"})
    child._process.stdin.close()
    until(lambda: child._process.poll() is not None)
    assert child._process.returncode == 0


def test_a_memory_too_large_for_the_wire_is_a_fault(isolated):
    optimizer = isolated(kind="huge state")
    with pytest.raises(IsolationError, match="must not exceed"):
        optimizer.state()


def test_garbage_without_end_is_a_fault_each_time(wishes):
    optimizer = wishes()
    optimizer.ask = lambda: "garbage"
    bounded = BoundedOptimizer(optimizer, 5.0)
    answers = {type(bounded.exchange(TOLD, ask=True).wish) for _ in range(10_000)}
    assert answers == {Fault}
    bounded.close()


def test_the_configuration_isolates_and_closing_ends_the_process(tmp_path, scripted_engine, signers, until):
    settings = {"kind": "none"}
    config = attrs.evolve(
        Config(),
        settle_delay=0.0,
        optimizer=OptimizerConfig(
            name="foreign", isolate=True, memory_max=512, ask_timeout=4.0, settings=settings
        ),
        logging=attrs.evolve(Config().logging, audit_ledger_path=str(tmp_path / "ledger")),
    )
    engine = scripted_engine()
    with Attunement(config, engine, signers) as attunement:
        attunement.controller.start()
        engine.run(3)
        pid = attunement._optimizer._optimizer.pid
        assert engine.applied[:2] == [1.0, 1.01]
    assert attunement.optimizer_memory()["asked"] >= 1
    until(lambda: _state(pid) == "X")


def test_an_attunement_that_cannot_begin_leaves_no_process(tmp_path, scripted_engine, signers):
    config = attrs.evolve(
        Config(),
        optimizer=OptimizerConfig(name="hold", isolate=True, memory_max=512),
        logging=attrs.evolve(Config().logging, audit_ledger_path=str(tmp_path / "ledger")),
    )
    before = set(_children())
    with pytest.raises(ActuatorError, match="cannot take"):
        Attunement(config, scripted_engine(refuses=lambda alpha: True), signers)
    assert set(_children()) == before


def _children():
    return [
        int(name)
        for name in os.listdir("/proc")
        if name.isdigit() and _fields(int(name))[1] == str(os.getpid())
    ]


def test_attunement_that_is_not_enabled_starts_no_process():
    config = attrs.evolve(Config(), enabled=False, optimizer=OptimizerConfig(name="foreign", isolate=True))
    assert build_optimizer(config).name == "hold"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"x", "not JSON"),
        (b'{"v": 1, "id": NaN}', "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1]", "holds a list"),
        (b'{"v": 2, "id": 7}', "v of the line is not 1"),
        (b'{"v": true, "id": 7}', "v of the line is not 1"),
        (b'{"v": 1, "id": 8}', "id of the line is not 7"),
        (b'{"v": 1}', "id of the line is not 7"),
        (b" " * (wire.LINE_MAX + 1), "must not exceed"),
    ],
    ids=range(10),
)
def test_a_line_that_is_no_message_is_refused(line, said):
    with pytest.raises(WireError, match=said):
        wire.decode(line, 7)


@pytest.mark.parametrize(
    "message",
    [{}, {"alpha": "1"}, {"alpha": True, "probe": True}, {"alpha": 1.0}, {"alpha": 1.0, "probe": 1}],
    ids=str,
)
def test_an_answer_without_a_wish_is_refused(message):
    with pytest.raises(WireError, match="no finite alpha"):
        wire.wish(message)


def test_messages_come_back_as_they_were():
    told = attrs.evolve(TOLD, verdict=Verdict.REFUSED, broken=("loop_gain[L_phi]",))
    sent = wire.decode(wire.encode({"outcome": wire.told(told)}, 7), 7)
    assert wire.outcome(sent["outcome"]) == told
    for wish in (HOLD, Suggestion(1.01), Suggestion(0.99, True)):
        assert wire.wish(wire.decode(wire.encode(wire.wished(wish), 7), 7)) == wish
    with pytest.raises(WireError, match="no JSON"):
        wire.encode({"x": object()}, 1)
