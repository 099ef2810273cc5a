"""Every task of sequences and every closed loop, small: name → task."""

import numpy as np

import localgrad as lg

T = lg.tasks
RNG = np.random.default_rng(0)


class Bandit:
    """An environment in the form of neurogym, whose trials have 3 to 5 steps."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def new_trial(self):
        steps = self.rng.integers(3, 6)
        self.ob, self.gt = self.rng.normal(size=(steps, 2)), self.rng.integers(0, 2, steps)


TASKS = {
    "Add": T.Add(2, 3, length=8),
    "Copy": T.Copy(symbols=3, length=2, delay=3),
    "FlipFlop": T.FlipFlop(bits=2, length=8, probability=0.3),
    "MackeyGlass": T.MackeyGlass(length=6, ahead=2),
    "SumOfSines": T.SumOfSines(outputs=2, components=2, period=6, cycles=2),
    "PatternGeneration": T.PatternGeneration(outputs=1, inputs=3, length=40, step=0.02),
    "EvidenceAccumulation": T.EvidenceAccumulation(cues=3, cue=3, gap=1, delay=4, recall=2, group=2),
    "DelayedMatch": T.DelayedMatch(stimuli=3, shown=2, delay=3, answer=2),
    "ContextDecision": T.ContextDecision(length=6, answer=2),
    "from_arrays": T.from_arrays(RNG.normal(size=(5, 4, 2)), RNG.normal(size=(5, 4, 1))),
    "from_environment": T.from_environment(Bandit(), num_trials=4),
}

LOOPS = {
    "mass": T.Reaching(T.PointMass(), length=5),
    "arm": T.Reaching(T.TwoJointArm(), length=5),
}
