r"""What exact learning curves leave out, on full networks: finite sequences, finite steps and finite batches.

Theory takes two limits, `T → ∞` and `η → 0`, and the mean over all batches. Each leaves out something of known order:

- a finite horizon `T` biases the update by terms like `T^p r^T` (final-step loss), with
  `r = max(ρ(W), ρ(W*)) · max(ρ(W), ρ(M))` and `p = 1` where `M = W`; by `1/T` (sequence loss);
- steps of size `η` leave the flow by order `η`, and leave its end altogether above `η_c = 2 Re λ/|λ|²`, `λ` the
  leading eigenvalue of the update's Jacobian there;
- a batch of `N` sequences has the finite horizon's update as its mean, and a spread `∝ 1/√N`; whole sampled learning
  curves spread `∝ √(η/N)` about the flow.

The runs are in `runs.py` and `samples.py`.

Source: docs/theory.md, sections 3, 7 and 9.
"""

from typing import Any

import jax
import numpy as np
import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.double_limit.figures import draw_limits, draw_samples
from localgrad.reproduction.networks.double_limit.runs import (
    Parameters,
    exact_flow,
    finite_horizons,
    finite_steps,
    make_problem,
    reach_on_the_way,
)
from localgrad.reproduction.networks.double_limit.samples import finite_batches

_ROUNDING = 1e-10
"""Relative errors below this are not only bias, but rounding too: near its end `Δθ` is small."""
_DEPARTED = 100.0
"""Growth of a small perturbation that is called departure: stable directions do not come near it."""


def compute(p: Parameters) -> xr.Dataset:
    """The flow of every rule, and what each of the three limits leaves out of it."""
    problem = make_problem(p)
    path = exact_flow(problem, p)
    flow = jax.tree.map(lambda x: x[:, np.array([0, -2, -1])], path)  # start, at `duration`, end
    parts = (finite_horizons(problem, flow, p), finite_steps(problem, flow, p), finite_batches(problem, flow, p))
    return xr.merge([*parts, reach_on_the_way(problem, path)], compat="no_conflicts")


# --- what is expected, and what is found -----------------------------------------------------------------------------


def _furthest(values: Any, expected: float) -> float:
    values = np.ravel(values)
    return float(values[np.argmax(np.abs(values - expected))])


def _slopes(x: np.ndarray, rows: xr.DataArray) -> np.ndarray:
    """Slopes of `log rows` against `log x` along the last axis, one a row."""
    flat = rows.values.reshape(-1, len(x))
    return np.array([np.polyfit(np.log(x), np.log(row), 1)[0] for row in flat])


def geometric_rates(data: xr.Dataset) -> np.ndarray:
    """Observed factor a step over the expected one, axes `"rule at"`; the factor `T^p` is divided out first."""
    T = data.horizon.values.astype(float)

    def rate(error: np.ndarray, power: int) -> float:
        counted = (T >= 12) & (error > _ROUNDING)  # fewer steps: other products than the largest still count
        if counted.sum() < 2:
            return np.nan
        return float(np.exp(np.polyfit(T[counted], np.log(error[counted] / T[counted] ** power), 1)[0]))

    found = [[rate(x, int(power)) for x in row] for row, power in zip(
        data.final_bias.values, data.expected_power.values, strict=True)]  # fmt: skip
    return np.array(found) / data.expected_ratio.values


def measured_critical(data: xr.Dataset) -> np.ndarray:
    """Between the largest rate, in units of `η_c`, up to which nothing departs, and the next; one a rule."""
    ratios = data["ratio"].values
    departs = np.array([np.append(row > _DEPARTED, True) for row in data.growth.values])
    first = departs.argmax(axis=1)
    edges = np.concatenate([[0.0], (ratios[1:] + ratios[:-1]) / 2, [np.inf]])
    return edges[first]


def curve_slopes(data: xr.Dataset) -> np.ndarray:
    """Slopes of the sampled curves' spread against `η/N`, over all rates and batch sizes; one a rule."""
    relative = (data.sampled_rate / data.batch_size).transpose("batch_size", "sampled_rate").values.ravel()
    return _slopes(relative, data.curve_spread)


def claims(data: xr.Dataset) -> list[Claim]:
    """The orders, for the rule that is furthest from them."""
    T = data.horizon.values
    return [
        Claim.equal(
            "double-limit.horizon-geometric",
            "theory, section 3",
            "Final-step loss: the update's bias falls like T^p r^T all along the curve (measured r / expected r)",
            1.0,
            _furthest(geometric_rates(data), 1.0),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.sequence-order",
            "paper, appendix H",
            "Sequence loss: the update's bias falls like 1/T all along the curve (slope)",
            -1.0,
            _furthest(_slopes(T[-3:], data.sequence_bias[..., -3:]), -1.0),
            tolerance=0.05,
        ),
        Claim.equal(
            "double-limit.step-order",
            "theory, section 1",
            "Learning by steps leaves the flow by order 1 in η (slope over the three smallest)",
            1.0,
            _furthest(_slopes(data.learning_rate.values[-3:], data.deviation[:, -3:]), 1.0),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.critical-rate",
            "theory, section 7",
            "At the end of the flow small perturbations depart from η = 2 Re λ/|λ|² on (measured / expected)",
            1.0,
            _furthest(measured_critical(data), 1.0),
            tolerance=0.01,
        ),
        Claim.at_most(
            "double-limit.update-mean",
            "theory, section 9",
            "The mean of sampled updates is the finite horizon's exact update (standard errors off, worst weight)",
            5.0,
            data.update_error.max(),
        ),
        Claim.equal(
            "double-limit.update-spread",
            "theory, section 9",
            "Sampled updates spread like N^(−1/2) (slope against the batch size N)",
            -0.5,
            _furthest(_slopes(data.batch_size.values, data.update_spread), -0.5),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.curve-spread",
            "theory, section 9",
            "Sampled learning curves spread about the flow like √(η/N) (slope against η/N)",
            0.5,
            _furthest(curve_slopes(data), 0.5),
            tolerance=0.1,
        ),
    ]


def learned_rates(data: xr.Dataset) -> np.ndarray:
    """Factor a step by which what is learned approaches its infinite horizon, from the first to the last horizon."""
    T, bias = data.curve_horizon.values, data.learned_bias.values
    return (bias[:, -1] / bias[:, 0]) ** (1 / (T[-1] - T[0]))


def table(data: xr.Dataset) -> list[list[str]]:
    """A row a rule: critical rate, and how far each limit's remainder goes in numbers of practice."""
    T, N, eta = data.curve_horizon.values[0], data.batch_size.values[-1], data.sampled_rate.values[0]
    head = ["rule", "critical η", f"bias, T = {T}", "its factor a step", "largest r", f"η = {data.learning_rate[1]:g}",
            f"one update, N = {N}", f"curves, N = {N}, η = {eta:g}", "… their mean"]  # fmt: skip
    factors = zip(data.critical_rate.values, learned_rates(data), data.largest_ratio.values, strict=True)
    shares = zip(data.learned_bias[:, 0].values, data.deviation[:, 1].values, data.update_spread[:, -1].values,
                 data.curve_spread[:, -1, 0].values, data.curve_bias[:, -1, 0].values, strict=True)  # fmt: skip
    rows = [head]
    for name, (critical, rate, largest), (bias, *others) in zip(data.rule_name.values, factors, shares, strict=True):
        numbers = [f"{critical:.3f}", f"{bias:.2%}", f"{rate:.3f}", f"{largest:.3f}"]
        rows.append([str(name), *numbers, *(f"{x:.2%}" for x in others)])
    return rows


EXPERIMENT = Experiment(
    name="double-limit",
    title="What the double limit hides",
    question="How far do finite sequences, finite steps and finite batches take learning from its exact flow?",
    parameters=Parameters(),
    quick=Parameters(
        curve_horizons=(8, 24),
        learning_rates=(0.1, 0.05, 0.025),
        ratios=(0.98, 0.99, 1.01, 1.02),
        batch_sizes=(4, 32),
        num_seeds=64,
    ),
    compute=compute,
    claims=claims,
    figures=(
        FigureSpec(
            "double-limit-bias",
            draw_limits,
            "One student, unaligned, under each rule. A: relative bias of the update at a finite horizon, late on the "
            "learning curve: geometric with the final-step loss (markers) until rounding, 1/T with the sequence loss "
            "(lines without). B: distance of learning by steps from the flow, relative to the way learned: slope 1. C: "
            "growth of a small perturbation of the end of the flow in 512 steps: none below the critical rate that "
            "the Jacobian gives, and departure from one per cent above it. RFLO and random e-prop then overflow "
            "(triangles at the top); the others go no further than some distance from the end.",
        ),
        FigureSpec(
            "double-limit-samples",
            draw_samples,
            "A: spread of the first sampled update, relative to the update: slope −1/2 and nearly the same for all "
            "rules. B: spread over seeds of what sampled learning has learned, for all rates and batch sizes: only "
            "η/N counts, with slope 1/2 (line: slope 1/2, through the mean). RFLO spreads least here. C: distance of "
            "the seeds’ mean from the flow: set by η. For RFLO it exceeds the spread: more seeds or larger "
            "batches would not bring it to the flow, only smaller steps.",
        ),
    ),
    table=table,
    table_caption="Relative to the way the flow has gone by then (one update: to the update). The bias is of what is "
    "learned under a finite horizon; its factor a step is not exactly the largest r met on the way, since powers of T "
    "and changes of sign still count at such horizons. η: deviation by finite steps; the rest: spread of samples. "
    "One problem, chosen from six random ones because every rule learns it and at rates that are cheap to sample. On "
    "others random e-prop diverged (seed 0), or RFLO departed at 0.98 of the rate computed (seed 1).",
)
