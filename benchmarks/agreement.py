"""Do the ensemble's outcomes agree with a tight implicit integration, over all rules?

Two references: SciPy's Radau at rtol 1e-9 (`learn_mode`, one trajectory at a time) on a small random sample over the
named rules and blends, each disagreement printed; and the engine itself at rtol 1e-9 on a large one.
"""

import numpy as np

import localgrad as lg

DURATION = 300.0


def rules() -> list[lg.Rule]:
    blend = lg.Rule(lg.Feedback.blend(0.5, 1.0), lg.Propagator.blend(0.5, 0.5), name="half of both")
    fixed = [lg.RFLO(1.0, 0.5), lg.RFLO(-1.0, 0.5), lg.RFLO(3.0, 0.9), lg.EProp(1.0), lg.ThreeFactor(1.0)]
    symmetric = [lg.BPTT(), lg.TruncatedBPTT(1), lg.TruncatedBPTT(3), lg.RFLO("symmetric", 0.5), lg.EProp()]
    return [*symmetric, *fixed, blend]


def starts(count: int, seed: int) -> tuple[lg.Mode, lg.Mode]:
    rng = np.random.default_rng(seed)
    w, w_star = rng.uniform(-0.95, 0.95, (2, count))
    return lg.Mode(*rng.uniform(-3, 3, (2, count)), w=w), lg.Mode(1.0, rng.choice([-1.0, 1.0], count), w_star)


def at(mode: lg.Mode, i: int) -> lg.Mode:
    return lg.Mode(*(float(np.broadcast_to(x, mode.w.shape)[i]) for x in mode))


def main(*, quick: bool = False) -> None:
    count = 5 if quick else 20
    start, teacher = starts(count, 0)
    agreed = 0
    for rule in rules():
        run = lg.integrate_modes(rule, start, teacher, duration=DURATION)
        for i in range(count):
            single = lg.learn_mode(rule, at(start, i), at(teacher, i), duration=DURATION, rtol=1e-9, atol=1e-12)
            if (single.outcome, single.branch) == (lg.Outcome(run.outcome[i]), run.branch[i]):
                agreed += 1
            else:
                found = f"{lg.Outcome(run.outcome[i]).name} {run.branch[i]}"
                print(
                    f"{rule.name} from {at(start, i)}, teacher {at(teacher, i)}: {found}, Radau {single.outcome.name}"
                )
    print(f"outcome and branch agree with Radau in {agreed} of {count * len(rules())}")
    count = 10_000 if quick else 200_000
    start, teacher = starts(count, 1)
    for rtol in (1e-4, 1e-5, 1e-6):
        differ = 0
        for rule in rules():
            tight = lg.integrate_modes(rule, start, teacher, duration=DURATION, rtol=1e-9, atol=1e-11)
            loose = lg.integrate_modes(rule, start, teacher, duration=DURATION, rtol=rtol)
            differ += int(((tight.outcome != loose.outcome) | (tight.branch != loose.branch)).sum())
        print(f"rtol {rtol:g}: {differ} of {count * len(rules()):,} outcomes differ from rtol 1e-9")
