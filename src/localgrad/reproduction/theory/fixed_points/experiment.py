"""Where learning comes to rest: the manifolds of the theory, and a search that does not know them.

Optimal `(s, c/s, w*)` under every rule; silent `(0, 0, w)` under rules with symmetric feedback; nothing else under
RFLO. For longer truncations and for blends, of which the literature says nothing, see `modes/fixed_points.py`.
"""

import numpy as np
import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.fixed_points.data import DESCRIBE, TRUNCATIONS, Parameters, compute, rules_of
from localgrad.reproduction.theory.fixed_points.figures import draw, table
from localgrad.rules.presets import BPTT, TruncatedBPTT


def claims(data: xr.Dataset) -> list[Claim]:
    """The paper's manifolds are there, with their losses and eigenvalues; nothing else is found."""
    paper = "paper, stationary solutions"
    rules = rules_of(Parameters())
    bptt, tbptt, longer = BPTT().key, TruncatedBPTT(1).key, [TruncatedBPTT(lags).key for lags in TRUNCATIONS[1:]]
    local = next(rule for rule in rules if rule.feedback.is_random and rule.propagator.is_scalar)
    blends = [rule.key for rule in rules[-3:]]
    rflo = data.num_roots.sel(rule=local.key).sum("teacher")
    found = data.num_roots.sum("teacher")
    return [
        Claim.at_most(
            "fixed-points.optimal",
            paper,
            "Every rule rests on the optimal manifold (s, c/s, w*) (largest |Δ|, all rules, random teachers and s)",
            1e-10,
            data.optimal_speed.max(),
        ),
        Claim.at_most(
            "fixed-points.optimal-loss",
            paper,
            "On the optimal manifold the loss is 0 (largest)",
            1e-20,
            data.optimal_loss.max(),
        ),
        Claim.at_most(
            "fixed-points.silent",
            paper,
            "BPTT and tBPTT rest on the non-optimal manifold (0, 0, w) (largest |Δ|)",
            0.0,
            data.silent_speed.max(),
        ),
        Claim.at_most(
            "fixed-points.silent-loss",
            paper,
            "On the non-optimal manifold the loss is c²/(2(1−w*²)) (largest relative error)",
            1e-10,
            data.silent_loss_error.max(),
        ),
        *(
            Claim.at_most(
                id,
                "paper, stability",
                f"The non-optimal manifold is a saddle under {rule.name}: eigenvalues {formula} and 0 (relative error)",
                1e-7,
                np.maximum(data.saddle_mismatch, data.saddle_middle).sel(symmetric_rule=rule.key).max(),
            )
            for id, rule, formula in (
                ("fixed-points.saddle-bptt", BPTT(), "±|c|/(1−w w*)"),
                ("fixed-points.saddle-tbptt", TruncatedBPTT(1), "±|c|/√(1−w w*)"),
            )
        ),
        Claim.at_most(
            "fixed-points.saddle-longer",
            "new: theory, section 6",
            "Under tBPTT(2…6) its eigenvalues are ±|c| √(σ(w w*)/(1−w w*)) and 0 (largest relative error)",
            1e-7,
            np.maximum(data.saddle_mismatch, data.saddle_middle).sel(symmetric_rule=longer).max(),
        ),
        Claim.at_most(
            "fixed-points.rflo-push",
            "theory, section 6",
            "RFLO does not rest at a = b = 0: |Δb| = |â c|/(1−ŵ w*) (largest relative error)",
            1e-10,
            data.rflo_push_error.max(),
        ),
        Claim.equal(
            "fixed-points.rflo-none",
            paper,
            "RFLO has no fixed point besides the optimal ones (roots found elsewhere, all teachers)",
            0,
            rflo.drop_sel(label="optimal").sum(),
            tolerance=0,
        ),
        Claim.at_least(
            "fixed-points.search-power",
            "check of the search",
            "The search finds the optimal manifold under every rule, and the silent line under symmetric ones (fewest)",
            20,
            min(found.sel(label="optimal").min(), found.sel(label="silent", rule=[bptt, tbptt, *longer]).min()),
        ),
        Claim.equal(
            "fixed-points.longer-truncations",
            "new: theory, section 6",
            "tBPTT(2…6) have the optimal manifold and the silent line, and nothing else (other roots found)",
            0,
            found.sel(rule=longer, label=["blocked", "unknown"]).sum(),
            tolerance=0,
        ),
        Claim.at_least(
            "fixed-points.traps",
            "new: theory, section 6",
            "Blends of feedback do rest where it vanishes, at b = 0 and at b ≠ 0 (roots found there, fewest)",
            20,
            found.sel(rule=[blends[0], blends[2]], label=["silent", "blocked"]).min(),
        ),
        Claim.equal(
            "fixed-points.blends",
            "new: theory, section 6",
            "Blends rest on the optimal manifold and where their feedback vanishes, nowhere else (other roots found)",
            0,
            found.sel(rule=blends, label="unknown").sum(),
            tolerance=0,
        ),
    ]


EXPERIMENT = Experiment(
    name="fixed-points",
    title="Where learning comes to rest",
    question="Which fixed points does each rule have, and does a search that knows none of them find others?",
    parameters=Parameters(),
    quick=Parameters(teachers=Parameters.teachers[:1], num_starts=400, num_points=500),
    compute=compute,
    claims=claims,
    describe=DESCRIBE,
    figures=(
        FigureSpec(
            "roots-found",
            draw,
            "Fixed points found by a root search from random starts (teacher (1, 1, 0.8); colour: their w). A, B: "
            "BPTT and tBPTT(3) rest on the two branches of the hyperbola, all with w = w*, and on the silent line a = "
            "b = 0 with any w. C: RFLO rests on the hyperbola only. D: a blend of symmetric and fixed feedback (α = "
            "½, â = 1) also rests wherever its feedback vanishes (dashed), at non-zero loss: a trap that no paper "
            "we know describes.",
        ),
    ),
    table=table,
    table_caption="Ends of the root search, over all teachers. No root reached: it ran towards infinity or |w| = 1.",
)
