"""The verification report, generated from the certificate: what is proved, what is assumed, what is still
tested."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from proofs.stability import SEEDS, VARIATION_FLOOR, VARIATION_MOST

REPORT_NAME = "Ω_Verification_Report.md"

Certificate = Mapping[str, Any]

ONLY_CVC5 = "exp itself, which only cvc5 knows"

_INTRODUCTION = """\
The kernel is the only code that may change α. Its rules are pure functions over integers, in
`kernel/rules.py` and `kernel/limits.py`. The proofs run **that source, as shipped**, on symbolic integers:
every comparison forks the run, and every path of every rule is turned into formulas. Nothing is transcribed
by hand into a model. Each claim below is then proved for *all* limits that the kernel accepts, *all* states
that satisfy the invariant and *all* inputs, by Z3, and proved again from the exported SMT-LIB text by cvc5,
whose proof is checked step by step. Where a goal fits 64-bit words, bitwuzla proves it a third time.
`unknown` is a failure.

This page and `proofs/certificate.json` are generated. `python -m proofs --check` proves everything again
and fails if one byte of either, or of `proofs/smt2/`, differs; `python -m proofs --write` writes them.
"""

GUARANTEES = (
    "α and the rollback target stay within [α_min, α_max] after every event (T1), and no event moves α by "
    "more than step_max (T2).",
    "α is called committed only if a reading taken at that α, in a later cycle than its proposal, kept "
    "every limit (T3).",
    "An α is granted only if α·drive ≤ K and α·loop_gain ≤ c_max on every scale, on the reading it is "
    "decided on; and a trial that ends on a safe reading leaves no other α in force (T4).",
    "EMERGENCY and FROZEN are left through an authorised approval on a safe reading and in no other way, "
    "restarts included (T5).",
    "On unsafe readings α never moves away from α_safe, and in an emergency it reaches α_safe within "
    "⌈(α_max − α_min)/step_max⌉ events (T6).",
    "The kernel accepts exactly what the specification allows, and names every limit it asked about (T7).",
    "Nothing of an optimizer counts but the number it proposes (T8). Every input has exactly one answer, "
    "and no rule raises (T9).",
    "Rounding at the boundary never hides a broken limit (T10).",
    "If the loop gain stays at or below κ·exp(−κ), the recursion's exponent stays at or below κ whatever "
    "the schedule of α (T11), and for κ < 1 two runs under the same inputs approach each other (T12).",
    "None of this is proved of nothing: every path, premise and row of the specification has a witness that "
    "Python runs (T13).",
)

ASSUMPTIONS = (
    (
        "CPython",
        "its integers are the mathematical ones; `if`, `and`, comparisons, `min`, `max`, `abs` and named "
        "tuples do what the language says; `float.as_integer_ratio` returns a finite double's exact value "
        "with a denominator > 0.",
    ),
    (
        "The explorer",
        "`proofs/explorer.py` follows that language exactly or refuses. It is some 300 lines, is tested "
        "against Python on random inputs, and every path is replayed on the real function; it is not itself "
        "proved.",
    ),
    (
        "The small language",
        "the syntax check in `proofs/source.py` keeps clocks, chance, loops, globals and foreign calls out "
        "of the proved modules. `kernel/state.py`, which only declares types, is read and not proved.",
    ),
    (
        "The solvers",
        "Z3 and cvc5 are right when they agree. cvc5's proofs are checked by its own checker; the steps "
        "that it takes on trust are counted below. bitwuzla's third opinion is on a box of figures only, "
        "and that the box keeps every term inside a word is Z3's proof.",
    ),
    (
        "The shell",
        "`kernel/safety_kernel.py` calls the rules with the state it holds, records before it acts and acts "
        "as decided: tested, not proved.",
    ),
    (
        "Honest sensors",
        "a reading says what was measured. A sensor that lies makes the kernel decide rightly on a lie.",
    ),
    (
        "Right limits",
        "the limits are the ones the plant needs. A wrong limit is enforced as exactly as a right one.",
    ),
    (
        "exp",
        "is positive, increasing and at least 1 + x; exp(0) = 1; exp(x + y) = exp(x)·exp(y).",
    ),
    (
        "The recursion",
        "the engine is the recursion that T11 and T12 are about, its loop gain is what it reports, and the "
        "steps of the two arguments are put together as their statements say: argued, not machine-checked.",
    ),
    (
        "The clock",
        "deadlines of trials use a monotonic clock of the shell; no rule reads a clock.",
    ),
    (
        "The disk",
        "a record that `fsync` reports durable is durable.",
    ),
    (
        "Authority",
        "whoever holds an operator's key is an operator.",
    ),
)

STILL_TESTED = (
    (
        "The boundary for floats",
        "what is no finite number is refused (`exact_ratio`) before the proved integers begin, α goes to the "
        "engine as a float (`to_float`), and which figure is rounded which way is written where readings "
        "are taken.",
    ),
    (
        "The shell, the ledger and the engine",
        "threads, crashes, full disks and engines that raise are not in the rules.",
    ),
    (
        "The rules once more",
        "by a state machine of random events and by another symbolic engine (CrossHair), because two tools "
        "seldom have the same fault; nightly, the properties of the rules and of rounding on inputs that "
        "CrossHair chooses.",
    ),
    (
        "The explorer",
        "random inputs through the rules and through the formulas of their paths must agree.",
    ),
    (
        "The theorems",
        "every small change of the rules must break a theorem, or be proved to change nothing (mutation).",
    ),
    (
        "The recursion",
        "simulated over a grid of loop gains and random schedules of α, beside the bound and the rate.",
    ),
)

LIMITS_OF_THE_CLAIM = (
    "A dishonest or broken sensor that reports safe figures lets an unsafe α be committed. A sensor that "
    "repeats itself is refused only because its cycle number does not advance.",
    "A wrong limit, signed by an operator, is kept. Only bounds in order, a step inside them and a c_max "
    "below 1/e are demanded.",
    "What is measured after α is applied cannot be known before: a hidden jump of the plant costs one "
    "trial's cycle. No engine is asked to predict; the products with the gains are all that is known ahead.",
    "Coherence is judged trial by trial, within a tolerance. It is no safety figure: a source of proposals "
    "that means harm can lead it down step by step inside the bounds.",
    "A disk that loses what it called durable can lose the last decisions, latches included.",
    "Whoever can write to the process's memory, or replace the kernel's files and the certificate together, "
    "is outside all this.",
)


def write_report(certificate: Certificate) -> str:
    """Return the report as Markdown."""
    return "\n".join(
        (
            "# Ω verification report",
            "",
            _INTRODUCTION,
            *_section("Guarantees", [f"- {line}" for line in GUARANTEES]),
            *_section("Assumptions", [f"- **{name}**: {text}" for name, text in ASSUMPTIONS]),
            *_section("What we still test, and why", [f"- **{name}**: {why}" for name, why in STILL_TESTED]),
            *_section("What the claim does not cover", [f"- {line}" for line in LIMITS_OF_THE_CLAIM]),
            *_section("Theorems", _theorem_table(certificate)),
            *_section("What each theorem says", _statements(certificate)),
            *_section("The invariant", _invariant(certificate)),
            *_section("The third opinion", _words(certificate)),
            *_section("Steps on trust", _trust(certificate)),
            *_section("Mutants", _mutants(certificate)),
            *_section("Of which sources, by which solvers", _origins(certificate)),
        )
    )


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""]


def _theorem_table(certificate: Certificate) -> list[str]:
    head = (
        "Paths: paths of the kernel's code that the goals speak of. rlimit: Z3's resource units, all goals "
        f"together. Spread: the largest coefficient of variation over {SEEDS} seeds with shuffled assertions "
        f"among the goals that cost {VARIATION_FLOOR} units or more; {100 * VARIATION_MOST:g} % is allowed. "
        "bitwuzla: how many goals fit 64-bit words, and what it says of them."
    )
    rows = [_table_row(item) for item in certificate["theorems"]]
    return [
        head, "",
        "| | theorem | goals | paths | Z3 | cvc5 | bitwuzla | witnesses | rlimit | spread |",
        "| --- | --- | ---: | ---: | --- | --- | --- | --- | ---: | ---: |",
        *rows,
    ]  # fmt: skip


def _table_row(item: Mapping[str, Any]) -> str:
    goals = item["goals"]
    costly = [goal["z3"] for goal in goals if goal.get("z3", {}).get("rlimit_mean", 0) >= VARIATION_FLOOR]
    spreads = [told["variation_permille"] for told in costly]
    cells = (
        item["identifier"],
        f"`{item['name']}`",
        len(goals),
        sum(goal["paths"] for goal in goals),
        *(_verdict(goals, means) for means in ("z3", "cvc5")),
        _verdict_on_words(goals),
        _verdict(goals, "witness"),
        sum(goal.get("z3", {}).get("rlimit", 0) for goal in goals) or "–",
        f"{max(spreads) / 10:.1f} %" if spreads else "–",
    )
    return f"| {' | '.join(map(str, cells))} |"


def _verdict(goals: Sequence[Mapping[str, Any]], means: str) -> str:
    return ", ".join(sorted({goal[means]["verdict"] for goal in goals if means in goal})) or "–"


def _verdict_on_words(goals: Sequence[Mapping[str, Any]]) -> str:
    given = [goal for goal in goals if "box" in goal.get("bitwuzla", {})]
    return f"{_verdict(given, 'bitwuzla')}, {len(given)} of {len(goals)}" if given else "–"


def _statements(certificate: Certificate) -> list[str]:
    items = certificate["theorems"]
    return [f"- **{item['identifier']} `{item['name']}`** {item['statement']}" for item in items]


def _invariant(certificate: Certificate) -> list[str]:
    clauses = certificate["hypotheses"]
    unused = [f"`{clause['name']}`" for clause in clauses if not clause["theorems_that_use_it"]]
    told = [
        f"| `{clause['name']}` | {clause['reason']} | {clause['theorems_that_use_it']} |"
        for clause in clauses
    ]
    return [
        "The hypotheses of T0 to T9: what holds of every policy and state the kernel can reach. T0 proves it "
        "inductive.",
        "",
        "| clause | why it is there | theorems in whose proof it is used |",
        "| --- | --- | ---: |",
        *told,
        "",
        f"Used by no proof, so any theorem holds without it: {', '.join(unused) or 'none'}.",
    ]


def _words(certificate: Certificate) -> list[str]:
    asked = [
        (f"`{item['name']}.{goal['name']}`", goal.get("bitwuzla", {}))
        for item in certificate["theorems"]
        for goal in item["goals"]
        if "witness" not in goal
    ]
    boxes = Counter(told["box"] for _, told in asked if "box" in told)
    unfit: dict[str, list[str]] = {}
    for name, told in asked:
        if "box" not in told:
            unfit.setdefault(told.get("reason", ONLY_CVC5), []).append(name)
    return [
        f"{boxes.total()} of {len(asked)} goals fit signed 64-bit words, and bitwuzla proves them a third "
        "time, by bits instead of by arithmetic. The claim is then: the goal holds on the box where every "
        "figure lies in [−2^k, 2^k). k is the largest for which a bound of every term fits a word; that none "
        "leaves it is proved first, by Z3 over the integers, and so is that the form given to bitwuzla is "
        "the goal. On a box of 2^31 nano units α and K reach 2.147; no signed word of 64 bits holds the "
        "product that K = 10 allows, 10^19 squared nano units. Beyond its box Z3 and cvc5 stand alone.",
        "",
        "| k | goals |",
        "| ---: | ---: |",
        *(f"| {box} | {number} |" for box, number in sorted(boxes.items())),
        "",
        "Not given to it, by what their formulas are (a goal rests on what a product is when Z3 proves it, "
        "but not with any number in the product's place):",
        "",
        *(f"- {reason}: {', '.join(names)}" for reason, names in sorted(unfit.items())),
    ]


def _trust(certificate: Certificate) -> list[str]:
    told = [
        f"- `{item['name']}.{goal['name']}`: {_counted(goal['cvc5']['trusted'])}"
        for item in certificate["theorems"]
        for goal in item["goals"]
        if goal.get("cvc5", {}).get("trusted")
    ]
    return [
        "Goals in whose proof by cvc5 a step was not checked but trusted, with the rule; all others are "
        "checked throughout.",
        "",
        *(told or ["- none"]),
    ]


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {name}" for name, number in numbers.items())


def _mutants(certificate: Certificate) -> list[str]:
    mutation = certificate["mutation"]
    if mutation is None:
        return ["No mutation run of these sources is on file: `python -m proofs.mutation`."]
    fates = ", ".join(f"{number} {fate}" for fate, number in sorted(mutation["counts"].items()))
    return [
        "Every operator, constant, check, member and return of the rules and limits was changed, one at a "
        "time. A mutant is killed when a theorem fails and its counterexample, run on the changed Python, "
        "breaks the claim.",
        "",
        f"Score: {mutation['score']} ({fates}).",
    ]


def _origins(certificate: Certificate) -> list[str]:
    kernel, solvers = certificate["kernel"], certificate["solvers"]
    return [
        f"- digest of the proved sources: `{kernel['digest']}`",
        *(f"- `kernel/{name}.py`: `{digest}`" for name, digest in sorted(kernel["sources"].items())),
        *(
            f"- `kernel/{name}.py`, tested and not proved: `{digest}`"
            for name, digest in sorted(kernel["shell"].items())
        ),
        *(f"- {name} = {value}" for name, value in sorted(kernel["constants"].items())),
        *(f"- {name} {version}" for name, version in sorted(solvers.items())),
    ]
