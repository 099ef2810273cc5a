"""Do poles that cannot leave the unit disc keep learning from diverging? The question, claims and frame."""

import numpy as np
import xarray as xr

from localgrad.reproduction.experiment import Claim, Experiment, FigureSpec
from localgrad.reproduction.theory.bounded_poles.data import RULES, Parameters, compute
from localgrad.reproduction.theory.bounded_poles.figures import draw, table


def _peaks(loss: np.ndarray) -> np.ndarray:
    """The heights of a curve's highest peaks, those above half of its maximum."""
    inside = loss[1:-1]
    found = inside[(inside > loss[:-2]) & (inside > loss[2:])]
    return found[found > 0.5 * found.max()]


def claims(data: xr.Dataset) -> list[Claim]:
    """What the theory says, and what a million trajectories say of its conjecture."""
    bounded = data.sel(poles=["tanh", "lru"])
    tanh, lru = data.sel(poles="tanh"), data.sel(poles="lru")
    backward, forward = lru.by_decay.where(lru.decay < -0.05, drop=True), lru.by_decay.where(lru.decay > 0.3, drop=True)
    rflo, eprop = data.sel(rule=RULES[0].key), data.sel(rule=RULES[1].key)
    peaks = _peaks(data.loss.values)
    return [
        Claim.equal(
            "bounded-poles.none-diverges", "theory, section 11",
            "With tanh and LRU poles nothing diverges in finite time (share over all rules)",
            0, bounded.share.sel(end="diverged").max(), tolerance=0,
        ),
        Claim.at_least(
            "bounded-poles.direct-diverges", "theory, section 11",
            "RFLO with direct poles diverges from many of the same starts (share)",
            0.3, rflo.share.sel(poles="direct", end="diverged"),
        ),
        Claim.at_least(
            "bounded-poles.tanh-converges", "new: measured",
            "With tanh poles RFLO converges from almost every start (share)",
            0.999, rflo.share.sel(poles="tanh", end="converged"),
        ),
        Claim.at_least(
            "bounded-poles.lru-forward", "theory, section 11",
            "With LRU poles RFLO converges from almost every start for decays ŵ > 0.3 (least share over bins of ŵ)",
            0.99, forward.sel(end="converged").min(),
        ),
        Claim.at_least(
            "bounded-poles.lru-backward", "theory, section 11",
            "With LRU poles and decays ŵ < 0 some w creep to an end of their range for ever (least share over bins of "
            "ŵ)",
            0.01, backward.sel(end="at the edge").min(),
        ),
        Claim.at_least(
            "bounded-poles.eprop-edge", "theory, section 11",
            "e-prop with random feedback creeps to the edge instead of diverging (least share over tanh and LRU)",
            0.1, eprop.share.sel(poles=["tanh", "lru"], end="at the edge").min(),
        ),
        Claim.at_least(
            "bounded-poles.eprop-sign", "theory, section 11",
            "At the edge e-prop's modes have a product â c b of the sign that drives w outwards (share, tanh)",
            0.999, tanh.outward,
        ),
        Claim.equal(
            "bounded-poles.feedback-alignment", "theory, section 5",
            "Feedback alignment ends where e-prop with the same feedback does, for a mode carries credit by w under "
            "both (largest share of starts that do not)",
            0, data.alignment.max(), tolerance=0,
        ),
        Claim.at_least(
            "bounded-poles.bptt", "theory, section 7",
            "BPTT converges with all poles (least share)",
            0.999, data.share.sel(rule=RULES[2].key, end="converged").min(),
        ),
        Claim.at_most(
            "bounded-poles.minors", "theory, section 11",
            "The product of RFLO's eigenvalues is ρ times that of direct poles (largest relative error)",
            1e-9, data.minors.max(),
        ),
        Claim.equal(
            "bounded-poles.border", "theory, sections 7 and 11",
            "RFLO's saddles end at the same border for all poles (share of optima on the wrong side)",
            0, data.border.max(), tolerance=0,
        ),
        Claim.at_most(
            "bounded-poles.turns", "new: measured",
            "RFLO with tanh poles can go round for ever (two successive highest losses, relative difference)",
            1e-3, abs(peaks[-1] / peaks[-2] - 1),
        ),
        Claim.at_least(
            "bounded-poles.turns-far", "new: measured",
            "This trajectory never comes near the optimum (its least loss, in units of a silent student's)",
            1e-3, data.loss.min() / data.silent_loss,
        ),
        Claim.at_least(
            "bounded-poles.detours", "new: measured",
            "What would have diverged comes back from afar: RFLO's longest ways, against BPTT's with the same poles, "
            "are longer with tanh poles than with direct ones (ninth deciles, ratio)",
            2, rflo.path_ratio.sel(quantile=0.9, poles="tanh") / rflo.path_ratio.sel(quantile=0.9, poles="direct"),
        ),
        Claim.at_least(
            "bounded-poles.slower", "theory, section 11",
            "Tanh poles cost RFLO time, measured against BPTT with the same poles (median ratio, tanh over direct)",
            1.0, rflo.time_ratio.sel(quantile=0.5, poles="tanh") / rflo.time_ratio.sel(quantile=0.5, poles="direct"),
        ),
    ]  # fmt: skip


EXPERIMENT = Experiment(
    name="bounded-poles",
    title="Poles decide divergence",
    question="Where poles cannot leave the unit disc, does learning still diverge, and where does it go instead?",
    parameters=Parameters(),
    quick=Parameters(num_rflo=20_000, num_others=20_000, num_optima=2000),
    compute=compute,
    claims=claims,
    describe={
        "rule": "rule",
        "poles": "what of a pole is trained",
        "end": "how learning ends; at the edge: unfinished, with w within 1e-4 of an end of the poles' range",
        "quantile": "quantile over starts",
        "decay": "RFLO's decay ŵ, middle of a bin",
        "time": "learning time of the trajectory that goes round [learning time]",
        "share": "share of starts",
        "by_decay": "share of starts under RFLO",
        "path_ratio": "length of the way over BPTT's with the same poles, where both converge",
        "time_ratio": "learning time over BPTT's with the same poles, where both converge",
        "outward": "share of e-prop's trajectories at the edge whose product â c b drives w there",
        "minors": "largest relative deviation of the eigenvalues' product from ρ times the direct one",
        "border": "share of optima on the wrong side of the border of RFLO's saddles",
        "alignment": "share of starts from which feedback alignment ends elsewhere than e-prop",
        "silent_loss": "loss of a silent student there",
        "loss": "loss of the trajectory that goes round",
        "a": "its readout a",
        "w": "its recurrent weight w",
    },
    figures=(
        FigureSpec(
            "bounded-poles",
            draw,
            "Random teachers, feedbacks, decays and starts, the same whether w is trained directly, or a ν with "
            "w = tanh ν or w = exp(−exp ν) (LRU). A: how learning "
            "ends; at the edge: w creeps towards an end of the poles' range. B: how often RFLO does not converge, by "
            "its decay. C: RFLO against BPTT with the same poles, where both converge (median; bars: 10 % to 90 %; "
            "colours as in B). D: the last of a trajectory of RFLO with tanh poles that goes round for ever. With tanh "
            "poles RFLO converges nearly always, with LRU poles nearly always where ŵ > 0.",
        ),
    ),
    table=table,
    table_caption="How learning ends, by rule and poles.",
)
