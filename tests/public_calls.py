"""One small good call of every public function and class, for tests that walk them all."""

import jax
import numpy as np
from stand_in_digits import install_where_missing

import localgrad as lg

install_where_missing()
NETWORK = lg.LinearRNN([[0.5, 0.2]], [[0.3, 0.1], [0.1, -0.2]], [[0.4], [0.3]])
TEACHER = lg.LinearRNN([[1.0, 0.0]], [[0.5, 0.0], [0.0, 0.25]], [[1.0], [0.0]])
LAYER = lg.DiagonalSSM([[1.0, 0.5]], [0.5j, 0.3], [[1.0], [0.2]])
MODE, OPTIMUM = lg.Mode(0.5, 0.4, 0.1), lg.Mode(1.0, 1.0, 0.5)
FRAMES = lg.Frames(np.eye(1), np.eye(2), np.eye(1))
MATRIX = [[0.5, -0.3]]
RFLO = lg.RFLO(0.7, 0.5)
KEY = jax.random.key(0)
CELL = lg.cells.LeakyRate([[0.5, 0.1], [0.2, 0.3]], [[1.0], [0.5]], None, leak=0.5)
OF_CELLS = ("optimizer", "test_task", "test_size", "record_every", "project_on")  # options of `train`
RFLO_ON_CELLS = lg.RFLO(MATRIX, "internal")


class Trials:
    """An environment with trials, in the form of neurogym."""

    def new_trial(self):
        self.ob, self.gt = np.ones((3, 1)), np.zeros(3, int)


def calls(folder):
    """Name → positional arguments and options; files are written to `folder` and read from it."""
    weights, run = folder / "weights.npy", folder / "run.npz"
    np.save(weights, np.array([[0.5, 0.1], [0.1, 0.3]]))
    sequences = folder / "sequences.npz"
    np.savez(sequences, inputs=np.ones((2, 3, 1)), targets=np.zeros((2, 3, 1)))
    curve = lg.learn(lg.BPTT(), NETWORK, TEACHER, duration=0.1, save_at=[0.1])
    lg.save(curve, run)
    (folder / "task.toml").write_text('kind = "integrator"\nleak = 0.5\n')
    seeds = jax.random.split(KEY, 1)
    sampled = {"learning_rate": 0.1, "batch_size": 2, "horizon": 3, "loss": "final", "method": "correlation"} | {
        "poles": "direct"
    }
    poles = {"poles": "direct"}
    along = (RFLO, OPTIMUM, 0.9)
    return {
        # rules
        "BPTT": ((), {"through_plant": False}),
        "TruncatedBPTT": ((2,), {}),
        "RFLO": ((MATRIX, 0.5), {}),
        "EProp": ((MATRIX,), {}),
        "BellecEProp": ((MATRIX,), {}),
        "SnAp1": ((), {}),
        "FeedbackAlignment": ((MATRIX,), {}),
        "ThreeFactor": ((MATRIX,), {}),
        "Rule": ((MATRIX, 0.5, 3), {"through_plant": False, "delay": 0, "name": "own", "key": "own"}),
        "Feedback": ((0.5, MATRIX, ()), {}),
        "Propagator": ((0.5, 0.2, 0.3, (), 0.1), {}),
        "make_rule": (("rflo",), {"feedback": 1.0, "decay": 0.5, "delay": 0}),
        "SignSymmetric": ((0.5,), {}),
        "WeightMirror": ((MATRIX, 0.5), {}),
        "KolenPollack": ((MATRIX, 0.5), {}),
        "FixedMatrix": ((MATRIX,), {}),
        "Mask": ((MATRIX, 1.0), {}),
        "LowRank": ((1,), {}),
        "Quantized": ((0.25, 1.0), {}),
        "Coarse": ((MATRIX, lg.Quantized(0.25)), {}),
        "CoarseTraces": ((RFLO_ON_CELLS, 0.1), {"stochastic": True, "mismatch": 0.1}),
        # models
        "LinearRNN": (([[1.0]], [[0.5]], [[1.0]]), {}),
        "LeakyRNN": (([[1.0]], [[0.5]], [[1.0]], 0.5), {}),
        "DiagonalSSM": (([[1.0]], [0.5], [[1.0]]), {}),
        "diagonalized": ((NETWORK,), {}),
        "real_blocks": ((LAYER,), {}),
        "conserved_quantity": ((NETWORK,), {}),
        "markov_parameters": ((NETWORK, 3), {}),
        "random_network": ((1, 2, 1), {"key": seeds[0], "scale": 1.0, "spectral_radius": 0.5}),
        "spectral_radius": (([[0.5]],), {}),
        "Mode": ((0.5, 0.4, 0.1), {}),
        "Frames": ((np.eye(1), np.eye(2), np.eye(1)), {}),
        "aligned_network": ((lg.Mode([1.0], [1.0], [0.5]), FRAMES), {}),
        "project_modes": ((NETWORK, FRAMES), {}),
        "random_frames": ((1, 2, 1), {"key": KEY}),
        "Readout": (([[1.0, 0.5]],), {"bias": [0.1]}),
        "Network": ((CELL, lg.Readout([[1.0, 0.5]])), {"feedback": None}),
        # tasks
        "LinearTask": (([[0.5]], [[1.0]], [[1.0]], [[1.0]], [[1.0]], [[0.1]], [[0.1], [0.2]]), {}),
        "aligned_modes": ((TEACHER,), {}),
        "connectome": ((68,), {"spectral_radius": 0.9}),
        "load_teacher": (
            (weights,),
            {"spectral_radius": 0.5, "symmetrize": True, "missing": "zero", "subject": None},
        ),
        "tasks.coloured_teacher": ((TEACHER, 0.5), {}),
        "tasks.white_noise_teacher": ((TEACHER,), {}),
        "tasks.delay_line": (({1: 0.5, 2: 1.0},), {}),
        "tasks.integrator": ((0.9,), {"gain": 1.0, "channels": 1}),
        "tasks.oscillator": ((6.0, 0.9), {"gain": 1.0}),
        "tasks.closed_loop": (
            (TEACHER,),
            {"imitate": None, "regulate": [[1.0, 0.0]], "plant_noise": 1.0, "sensor_noise": 0.1},
        ),
        "tasks.point_mass": ((0.1,), {"damping": 0.1, "stiffness": 0.1}),
        "tasks.load_task": ((folder / "task.toml",), {}),
        "tasks.Add": ((3, 6), {"length": 20}),
        "tasks.Copy": ((4, 3, 5), {}),
        "tasks.FlipFlop": ((2, 20, 0.2), {}),
        "tasks.MackeyGlass": ((17, 6, 50), {}),
        "tasks.SumOfSines": ((1, 4, 50, 2, 0), {}),
        "tasks.PatternGeneration": ((3, 20, 100, 0.01, 10.0, 0), {}),
        "tasks.EvidenceAccumulation": ((3, 5, 2, 10, 4, 2, 0.4, 0.1), {}),
        "tasks.DelayedMatch": ((2, 2, 3, 2, 0.1), {}),
        "tasks.ContextDecision": ((10, 2, 0.5, 1.0), {}),
        "tasks.digits": (("pixel", "training"), {}),
        "tasks.from_arrays": (
            (np.ones((2, 3, 1)), np.zeros((2, 3)), np.ones((2, 3))), {"loss": "cross_entropy", "num_classes": 2}
        ),
        "tasks.from_npz": ((sequences,), {"loss": "mse", "num_classes": None}),
        "tasks.from_environment": ((Trials(),), {"num_trials": 2, "seed": 0, "max_steps": 5}),
        "tasks.PointMass": ((1.0, 2.0, 0.02), {}),
        "tasks.TwoJointArm": ((0.02,), {}),
        "tasks.Reaching": ((lg.tasks.PointMass(), 8, 0.1, 50, 1.0, 1.0, 0.001, "plant"), {}),
        # updates and learning
        "expected_update": (
            (lg.BPTT(), NETWORK, TEACHER),
            {"horizon": 3, "loss": "final", "method": "auto"},
        ),
        "expected_loss": ((NETWORK, TEACHER), {"horizon": 3, "loss": "final"}),
        "network_update": (
            (RFLO_ON_CELLS, lg.Network(CELL, lg.Readout([[1.0, 0.5]])), [[[1.0], [0.5]]], [[[0.5], [0.2]]]),
            {"loss": "mse", "mask": [[1.0, 1.0]], "method": "recorded", "key": None},
        ),
        "learn": (
            (lg.BPTT(), NETWORK, TEACHER),
            {"duration": 0.1, "horizon": None, "loss": "final", "method": lg.Flow(), "tolerance": 1e-6,
             "save_at": [0.1], "poles": "direct"},
        ),
        "Flow": (("stabilized", 1e-4, 1e-6, 100), {}),
        "Steps": ((0.1,), {}),
        "train": (
            (lg.BPTT(), NETWORK, TEACHER),
            {"key": KEY, "num_steps": 2, "target_loss": 0.1, "checkpoint": None, "checkpoint_every": 1,
             "save_every": 1, "progress": False} | dict.fromkeys(OF_CELLS) | {"record": ()} | sampled,
        ),
        "Trainer": ((lg.BPTT(), TEACHER), sampled),
        "rounded_weights": ((0.25,), {"key": KEY}),
        "save": ((curve, folder / "again.npz"), {}),
        "load_run": ((run,), {"rule": None, "network": None, "task": None}),
        "sweep": (
            ({"kind": "modes", "run": {"a": 0.5, "b": 0.5, "w": 0.0, "teacher_w": 0.8}, "axes": {"rule": ["bptt"]}},),
            {"out": folder / "runs.zarr", "workers": 0, "scheduler": None, "progress": False},
        ),
        # diagnostics
        "alignment": ((NETWORK, TEACHER, MATRIX), {}),
        "effective_modes": ((NETWORK, TEACHER, MATRIX), {}),
        "singular_spectrum": ((NETWORK, TEACHER), {"feedback": MATRIX, "tolerance": 1e-3}),
        "compare_updates": (([lg.BPTT(), lg.EProp()], NETWORK, TEACHER), {"horizon": 3, "loss": "final"}),
        "kernel": ((lg.EProp(), NETWORK, TEACHER), {"horizon": 3, "loss": "final"}),
        "update_covariance": ((lg.EProp(), NETWORK, TEACHER), {"horizon": 3}),
        "stationary_spread": (
            (lg.BPTT(), TEACHER, lg.tasks.white_noise_teacher(TEACHER).with_error_noise(0.1)),
            {"learning_rate": 0.01, "batch_size": 2, "horizon": 3},
        ),
        "locality": ((RFLO_ON_CELLS, lg.Network(CELL, lg.Readout([[1.0, 0.5]]))), {}),
        # modes
        "mode_update": ((RFLO, MODE, OPTIMUM), poles),
        "mode_loss": ((MODE, OPTIMUM), {}),
        "mode_jacobian": ((RFLO, MODE, OPTIMUM), poles),
        "fixed_points": ((RFLO, OPTIMUM), poles),
        "search_fixed_points": ((RFLO, OPTIMUM), {"num_starts": 2, "seed": 0, "tolerance": 1e-10}),
        "align_rule": ((RFLO, FRAMES), {}),
        "optimal_mode": ((OPTIMUM, 0.9), {}),
        "spectrum": (along, poles),
        "spectrum_at": ((RFLO, MODE, OPTIMUM), poles),
        "convergence_rate": (along, poles),
        "critical_learning_rate": (along, poles),
        "rate_crossings": ((RFLO, lg.BPTT(), OPTIMUM, 0.5, 2.0), {"samples": 3} | poles),
        "slowest_point": ((RFLO, OPTIMUM), {"branch": 1, "s_min": 0.5, "s_max": 2.0} | poles),
        "learn_mode": (
            (RFLO, MODE, OPTIMUM),
            {"duration": 0.1, "rtol": 1e-6, "atol": 1e-8, "max_steps": 100} | poles,
        ),
        "integrate_modes": (
            (RFLO, MODE, OPTIMUM),
            {"duration": 0.1, "rtol": 1e-6, "atol": 1e-8, "early_stop": True, "save_at": [0.1], "max_steps": 100,
             "threads": 1} | poles,
        ),
        "basins": (
            (RFLO, OPTIMUM),
            {"a": [0.5], "b": 0.5, "w": 0.1, "duration": 0.1, "rtol": 1e-5, "store": None, "progress": None} | poles,
        ),
        "sample_basins": (
            (RFLO, OPTIMUM),
            {"num_starts": 2, "low": lg.Mode(0.0, 0.0, 0.0), "high": MODE, "seed": 0, "duration": 0.1, "rtol": 1e-5}
            | poles,
        ),
        # the explorer
        "explore": ((RFLO, OPTIMUM), {"port": 0, "browser": False}),
        "boundary": (
            (RFLO, MODE, lg.Mode(0.6, 0.4, 0.1), OPTIMUM),
            {"duration": 0.1, "samples": 3, "precision": 1e-3, "rtol": 1e-6, "atol": 1e-8} | poles,
        ),
    }  # fmt: skip


# What functions return, and what is made by subclassing: `Term`, `Cell`, `SequenceTask`, `LoopTask` and `Body`.
RESULTS = {
    "Boundary",
    "Cell",
    "Ensemble",
    "Kernel",
    "Spread",
    "LearningCurve",
    "Locality",
    "NetworkRun",
    "Outcome",
    "SlowestPoint",
    "Term",
    "tasks.ArrayTask",
    "tasks.Batch",
    "tasks.Body",
    "tasks.LoopTask",
    "tasks.SequenceTask",
    "TrainingRun",
    "Trajectory",
}


def public_names():
    """The names of all public functions and classes, those of `lg.tasks` with that prefix."""
    own = {name for name in lg.__all__ if callable(getattr(lg, name))}
    return own | {f"tasks.{name}" for name in lg.tasks.__all__ if callable(getattr(lg.tasks, name))}


def find(name):
    """The function or class of a public name."""
    found = lg
    for part in name.split("."):
        found = getattr(found, part)
    return found
