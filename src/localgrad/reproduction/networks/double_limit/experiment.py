r"""What exact learning curves leave out, on full networks: finite sequences, finite steps and finite batches.

Theory takes two limits, `T → ∞` and `η → 0`, and the mean over all batches. Each leaves out something of known order:

- a finite horizon `T` biases the update by terms like `T^p r^T` (final-step loss), with
  `r = max(ρ(W), ρ(W*)) · max(ρ(W), ρ(M))` and `p = 1` where `M = W`, else 0; by `1/T` (sequence loss);
- steps of size `η` leave the flow by order `η`, and leave its end altogether above `η_c = 2 Re λ/|λ|²`, `λ` the
  leading eigenvalue of the update's Jacobian there;
- a batch of `N` sequences has the finite horizon's update as its mean, and a spread `∝ N^(−1/2)`; whole sampled
  learning curves spread `∝ (η/N)^(1/2)` about the flow.

Every order is measured on several problems (`problem.py` says which), and a claim is about the median over them, for
the rule that is furthest from what is expected. The runs are in `runs.py` and `samples.py`.

Limits: where learning is still under way at the end of the flow, the Jacobian there says nothing about what follows.
There steps may depart below `η_c`, or not depart above it; the table counts how often.

Source: docs/theory.md, sections 3, 7 and 9.
"""

import jax
import numpy as np
import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.double_limit.describe import DESCRIBE
from localgrad.reproduction.networks.double_limit.figures import draw_limits, draw_samples
from localgrad.reproduction.networks.double_limit.orders import (
    curve_slopes,
    departure,
    geometric_rates,
    learned_rates,
    median_furthest,
    slopes,
)
from localgrad.reproduction.networks.double_limit.problem import Parameters, problems_and_flows
from localgrad.reproduction.networks.double_limit.runs import finite_horizons, finite_steps, reach_on_the_way
from localgrad.reproduction.networks.double_limit.samples import finite_batches


def compute(p: Parameters) -> xr.Dataset:
    """The flow of every rule on every problem, and what each of the three limits leaves out of it."""
    found, seeds = [], []
    for problem, path in problems_and_flows(p):
        flow = jax.tree.map(lambda x: x[:, np.array([0, -2, -1])], path)  # start, at `duration`, end
        parts = (finite_horizons(problem, flow, p), finite_steps(problem, flow, p), finite_batches(problem, flow, p))
        found.append(xr.merge([*parts, reach_on_the_way(problem, path)], compat="no_conflicts"))
        seeds.append(problem.seed)
    return xr.concat(found, "problem", data_vars="all").assign_coords(problem=seeds)


def claims(data: xr.Dataset) -> list[Claim]:
    """The orders: medians over problems, for the rule that is furthest from them."""
    smallest_rates = data.deviation.isel(learning_rate=slice(-3, None))
    longest = data.sequence_bias.isel(horizon=slice(-3, None))
    return [
        Claim.equal(
            "double-limit.horizon-geometric",
            "theory, section 3",
            "Final-step loss: the update's bias falls like T r^T under BPTT and like r^T under the other rules, all "
            "along the curve (measured r over expected r, median over problems, worst rule)",
            1.0,
            median_furthest(geometric_rates(data), 1.0),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.sequence-order",
            "paper, appendix H",
            "Sequence loss: the update's bias falls like 1/T all along the curve (slope, median over problems, worst "
            "rule)",
            -1.0,
            median_furthest(slopes(longest, "horizon"), -1.0),
            tolerance=0.05,
        ),
        Claim.equal(
            "double-limit.step-order",
            "theory, section 1",
            "Learning by steps leaves the flow by order 1 in η (slope over the three smallest η, median over problems, "
            "worst rule)",
            1.0,
            median_furthest(slopes(smallest_rates, "learning_rate"), 1.0),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.critical-rate",
            "theory, section 7",
            "At the end of the flow small perturbations depart from η = 2 Re λ/|λ|² on (measured over expected, median "
            "over problems, worst rule)",
            1.0,
            median_furthest(departure(data), 1.0),
            tolerance=0.01,
        ),
        Claim.at_most(
            "double-limit.update-mean",
            "theory, section 9",
            "The mean of sampled updates is the finite horizon's exact update (standard errors off, worst of all "
            "weights, rules and problems)",
            5.0,
            data.update_error.max(),
        ),
        Claim.equal(
            "double-limit.update-spread",
            "theory, section 9",
            "Sampled updates spread like N^(−1/2) (slope against the batch size N, median over problems, worst rule)",
            -0.5,
            median_furthest(slopes(data.update_spread, "batch_size"), -0.5),
            tolerance=0.1,
        ),
        Claim.equal(
            "double-limit.curve-spread",
            "theory, section 9",
            "Sampled learning curves spread about the flow like (η/N)^(1/2) (slope against η/N, median over problems, "
            "worst rule)",
            0.5,
            median_furthest(curve_slopes(data), 0.5),
            tolerance=0.1,
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """A row a rule: critical rate, and how far each limit's remainder goes in numbers of practice; medians."""
    T, N, eta = data.curve_horizon.values[0], data.batch_size.values[-1], data.sampled_rate.values[0]
    head = ["rule", "critical η", "departs there", f"bias, T = {T}", "its factor a step", "largest r",
            f"η = {data.learning_rate[0]:g}", f"one update, N = {N}", f"curves, N = {N}, η = {eta:g}",
            "… their mean"]  # fmt: skip
    as_expected = (abs(departure(data) - 1) < 0.01).sum("problem")
    middle = data.assign(factor=learned_rates(data)).median("problem")
    rows = [head]
    for i, name in enumerate(data.rule_name.values):
        one = middle.isel(rule=i)
        shares = (one.learned_bias[0], one.deviation[0], one.update_spread[-1], one.curve_spread[-1, 0],
                  one.curve_bias[-1, 0])  # fmt: skip
        bias, *others = (f"{float(x):.2%}" for x in shares)
        departs = f"{int(as_expected[i])} of {data.sizes['problem']}"
        factors = f"{float(one.factor):.3f}", f"{float(one.largest_ratio):.3f}"
        rows.append([str(name), f"{float(one.critical_rate):.3f}", departs, bias, *factors, *others])
    return rows


EXPERIMENT = Experiment(
    name="double-limit",
    title="What the double limit hides",
    question="How far do finite sequences, finite steps and finite batches take learning from its exact flow?",
    parameters=Parameters(),
    quick=Parameters(
        num_problems=3,
        curve_horizons=(8, 24),
        learning_rates=(0.05, 0.025, 0.0125),
        ratios=(0.98, 0.99, 1.01, 1.02),
        batch_sizes=(4, 32),
    ),
    compute=compute,
    claims=claims,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "double-limit-bias",
            draw_limits,
            "Unaligned students under each rule, medians over problems. A: relative bias of the update at a finite "
            "horizon T, late on the learning curve: geometric with the final-step loss (markers) until rounding, 1/T "
            "with the sequence loss (lines without markers). B: distance of learning by steps of size η from the flow, "
            "relative to the way of the flow; grey: slope 1. C: growth of a small perturbation of the end of the flow "
            "in 512 steps, over η relative to the critical rate that the Jacobian gives (grey line): small "
            "perturbations depart from one per cent above it on, and grow until learning goes elsewhere. Triangles at "
            "the top: on half of the problems or more the runs overflow.",
        ),
        FigureSpec(
            "double-limit-samples",
            draw_samples,
            "Medians over problems. A: spread of the first sampled update relative to the update, over the size N of "
            "the batch; grey: slope −1/2. All rules lie close together. B: spread over seeds of what sampled learning "
            "has learned, for all learning rates η and batch sizes: only η/N counts; grey: slope 1/2. C: distance of "
            "the seeds’ mean from the flow at the largest N, over η; grey: slope 1. Where it exceeds the spread of B, "
            "neither more seeds nor larger batches bring the mean to the flow, only smaller steps do.",
        ),
    ),
    table=table,
    table_caption="Medians over problems, relative to the way that the flow has gone by then (one update: to the "
    "update). Departs there: on how many problems small perturbations depart at the critical η, to one per cent; on "
    "the others learning has not come to rest, and the Jacobian there says little. The bias is of what is learned "
    "under a finite horizon; its factor a step is not exactly the largest r met on the way, since powers of T and "
    "changes of sign still count at such horizons. η: deviation by finite steps. The rest: spread of samples. "
    "Problems are the first random ones on which no rule diverges, none chosen further.",
)
