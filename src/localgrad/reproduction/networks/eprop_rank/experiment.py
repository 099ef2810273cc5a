r"""e-prop's rank: exactly at most q·o for q distinct entries of `diag W`; in general by a law of their spread.

What e-prop's `ΔW` can span is a matter of how far apart the entries of `diag W` lie in the disc in which the error's
memory is analytic: of `t = r(d_max − d_min)/(1 − r² d_max d_min)`, `r = max(ρ(W), ρ(W*))`. Singular values fall by
`e^{−μ(t)}` every `o` of them, `μ(t) = (π/2) K(√(1−t²))/K(t)`: a theorem, up to a computed constant (`law.py`).

**Conjecture.** At random networks no constant is needed: `rank_ε(ΔW) ≤ o(1 + ⌈log(1/ε)/μ(t)⌉)`. Late in learning it
fails, where `C_0` has been unlearned before the other `C_j`; the theorem holds there too.

**Over learning** `rank ≤ q·o` holds for a diagonal propagator that stays constant (a decay per unit). e-prop's own
moves, and entries that began equal part, since `ΔW_aa = Σ_j d_a^j R_aᵀ C_j e_a` differs between units: its rank grows.

Source: docs/theory.md, section 9.
"""

from dataclasses import dataclass

import jax
import numpy as np
import xarray as xr

from localgrad.learning.methods import Flow
from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.networks.eprop_rank import networks
from localgrad.reproduction.networks.eprop_rank.describe import DESCRIBE
from localgrad.reproduction.networks.eprop_rank.figures import draw_law, draw_learning, predicted, unsaturated

_DIAGONALS = ("equal at first", "unequal", "constant, q = 2")  # of the learning runs


@dataclass(frozen=True)
class Parameters:
    """Sizes and numbers of random networks; learning runs are of `learning_hidden` units, one input and output."""

    hidden: int = 32
    teacher_hidden: int = 16
    inputs: int = 12
    max_outputs: int = 3
    max_distinct: int = 3
    repeats: int = 10
    num_networks: int = 400
    digits: int = 12  # tolerances 1e-1 … 1e-digits
    learning_hidden: int = 10
    learning_teacher: int = 6
    seeds: int = 8
    stride: int = 3  # of the snapshots at which updates are looked at
    duration: float = 100.0
    max_steps: int = 2000  # this and the sizes as in the experiment "rank": one compiled program serves both
    seed: int = 0


# --- the dataset -----------------------------------------------------------------------------------------------------


def compute(p: Parameters) -> xr.Dataset:
    """Ranks of exact updates at random and at learned networks, what the laws say, and ranks of what is learned."""
    rng = np.random.default_rng(p.seed)
    settings = {"duration": p.duration, "method": Flow(rtol=1e-3, atol=1e-5, max_steps=p.max_steps)}
    key, tolerances = jax.random.key(p.seed), 10.0 ** -np.arange(1.0, p.digits + 1)
    curves = networks.learning_runs(p.learning_hidden, p.learning_teacher, p.seeds, key=key, **settings)
    sizes = networks.Sizes(p.hidden, p.teacher_hidden, p.max_outputs, p.inputs)
    pairs = [(q + 1, o + 1) for q, o, _ in np.ndindex(p.max_distinct, p.max_outputs, p.repeats)]
    exact = [networks.distinct_case(sizes, rng, q, o) for q, o in pairs]
    general = [networks.general_case(sizes, rng) for _ in range(p.num_networks)]
    path = networks.learned_cases(sizes, curves[0], p.stride) + networks.learned_cases(sizes, curves[1], p.stride)
    # All in one call, so that one program serves them.
    dW, dB, norms, mismatch = networks.exact_updates(exact + general + path)
    sigma = np.linalg.svd(dW, compute_uv=False)
    products, num, first_path = [q * o for q, o in pairs], len(pairs), len(pairs) + p.num_networks
    ranks_B = networks.numerical_rank(np.linalg.svd(dB[:num], compute_uv=False), 1e-10)
    random = networks.ranks_of(general, sigma[num:first_path], norms[num:first_path], tolerances)
    learned = networks.ranks_of(path, sigma[first_path:], norms[first_path:], tolerances)
    names, shape = ("start", "seed", "path", "epsilon"), (2, p.seeds, -1, p.digits)
    change = np.stack([networks.relative(curve.spectrum.W.singular_values) for curve in curves])
    return xr.Dataset(
        {
            "distinct_product": ("pair", products),
            "exact_rank": (("matrix", "pair"), np.stack([networks.numerical_rank(sigma[:num], 1e-10), ranks_B])),
            "mismatch": ("update", mismatch),
            "outputs": ("network", [case.outputs for case in general]),
            "diameter": ("network", [case.diameter for case in general]),
            "rate": (("estimate", "network"), np.stack([networks.rates_of(case) for case in general], axis=1)),
            **{key: (("network", "epsilon"), value) for key, value in random.items()},
            **{f"path_{key}": (names, value.reshape(shape)) for key, value in learned.items()},
            "change": (("diagonal", "seed", "snapshot", "index"), change),
            "time": ("snapshot", curves[0].snapshot_times),
            "path_time": ("path", curves[0].snapshot_times[:: p.stride]),
        },
        {"epsilon": tolerances, "estimate": ["modulus", "lags", "polynomials"], "diagonal": list(_DIAGONALS)},
        {"hidden": p.hidden},
    )


# --- claims ----------------------------------------------------------------------------------------------------------


def claims(data: xr.Dataset) -> list[Claim]:
    """The exact statement, the theorem, the law without a constant, and what learning does to them."""
    surplus = data.exact_rank - data.distinct_product
    end, rank, chosen = data.change.isel(snapshot=-1), data["rank"], unsaturated(data).values
    return [
        Claim.at_most(
            "eprop-rank.lags",
            "theory, section 3",
            "e-prop's expected update is Σ_j D^j Rᵀ C_j, here summed lag by lag (largest relative difference)",
            1e-10,
            data.mismatch.max(),
        ),
        Claim.at_most(
            "eprop-rank.distinct",
            "theory, section 9",
            "With q distinct values on diag W, ΔW and ΔB of one update have rank at most q·o (largest surplus)",
            0,
            surplus.max(),
        ),
        Claim.equal(
            "eprop-rank.attained",
            "new: measured",
            "At random networks this rank is attained, for q and o of 1, 2, 3 (share of updates of W and B)",
            1.0,
            (surplus == 0).mean(),
            tolerance=0,
        ),
        Claim.at_most(
            "eprop-rank.theorem",
            "new: proved in theory, section 9",
            "For any diagonal rank_ε(ΔW) ≤ o⌈log(2Γ/(ε σ_1))/μ(t)⌉ (largest surplus, random and learned networks)",
            0,
            max((rank - data.certified).max(), (data.path_rank - data.path_certified).max()),
        ),
        Claim.at_most(
            "eprop-rank.conjecture",
            "new: conjecture",
            "At random networks rank_ε(ΔW) ≤ o(1 + ⌈log(1/ε)/μ(t)⌉), without a constant (largest surplus)",
            0,
            (rank - data.law).max(),
        ),
        Claim.at_least(
            "eprop-rank.law",
            "new: measured",
            "The numerical rank follows o·log(1/ε)/μ(t) (correlation over networks and tolerances)",
            0.95,
            np.corrcoef(predicted(data).sel(estimate="modulus").values[chosen], rank.values[chosen])[0, 1],
        ),
        Claim.at_least(
            "eprop-rank.refuted-late",
            "new: measured",
            "Late in learning updates go beyond the law without its constant (largest surplus)",
            1,
            (data.path_rank - data.path_law).max(),
        ),
        Claim.at_most(
            "eprop-rank.constant-diagonal",
            "new: proved in theory, section 9",
            "With constant decays of 2 values and o = 1, all that is learned has rank at most 2 (largest, at 1e-10)",
            2,
            (data.change.sel(diagonal=_DIAGONALS[2]) > 1e-10).sum("index").max(),
        ),
        Claim.at_least(
            "eprop-rank.equal-parts",
            "new: measured",
            "e-prop itself leaves q·o = 1 behind: from an equal diagonal, o = 1 (least rank at 1e-6)",
            2,
            (end.sel(diagonal=_DIAGONALS[0]) > 1e-6).sum("index").min(),
        ),
    ]


def table(data: xr.Dataset) -> list[list[str]]:
    """For each number of outputs, how near the bound, the law and the simpler laws come."""
    rows = [
        [
            "outputs",
            "networks",
            "bound / rank",
            "o(1 + ⌈…⌉) / rank",
            "modulus / rank",
            "polynomials / rank",
            "lags / rank",
        ]
    ]
    for o in np.unique(data.outputs):
        own = data.isel(network=data.outputs.values == o)
        chosen = unsaturated(own).values
        values = [
            own.certified,
            own.law,
            *(predicted(own).sel(estimate=e) for e in ("modulus", "polynomials", "lags")),
        ]
        ratios = [np.median((x.values / own["rank"].values)[chosen]) for x in values]
        rows.append([str(o), str(own.sizes["network"]), *(f"{ratio:.2f}" for ratio in ratios)])
    return rows


EXPERIMENT = Experiment(
    name="eprop-rank",
    title="The rank of e-prop",
    question="How low is the rank of what e-prop learns with random feedback, and what is it a function of?",
    parameters=Parameters(),
    quick=Parameters(repeats=4, num_networks=150, seeds=4),
    compute=compute,
    claims=claims,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "eprop-rank-law",
            draw_law,
            "Single updates ΔW at random networks of 32 units. A: the rank at tolerance ε per output grows with the "
            "diameter t of diag W and stays near log(1/ε)/μ(t) (line). We conjecture rank ≤ o(1 + ⌈log(1/ε)/μ(t)⌉) at "
            "random networks. B: against the proved bound o⌈log(2Γ/(ε σ₁))/μ(t)⌉ for ε = 1e-1 … 1e-12 (points are "
            "jittered by 0.3): 1.2 times the rank for o = 1, 1.5 times for o = 3 (medians). C: the count of lags, "
            "o log(1/ε)/log(1/(r max|d|)), says far less, since it does not see how close together the entries d lie. "
            "The symbols t, μ, Γ and r are those of docs/theory.md, section 9.",
        ),
        FigureSpec(
            "eprop-rank-learning",
            draw_learning,
            "Learning with o = 1 and 10 units. A: rank of what is learned (median, range over seeds). Constant decays "
            "of two values keep it at 2; e-prop goes from q·o = 1 to nearly full even where the diagonal was equal at "
            "first, since learning spreads it. B: singular values at the end (geometric means): e-prop's still fall "
            "fast. C: single updates at the networks on e-prop's way, largest surplus over seeds and tolerances: the "
            "law without a constant fails late, where ‖C_0‖ has fallen to a few per cent of the largest ‖C_j‖; the "
            "proved bound is never passed (0 also where both are all 10 units).",
        ),
    ),
    table=table,
    table_caption="Medians over random networks and tolerances at which the proved bound is below the number of units.",
)
