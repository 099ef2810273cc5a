r"""Stability of optima when errors arrive late: modes at random optima, networks that oscillate, runs.

Of a mode the two rates are known, and with them their product; theory says it is `(m w*)^d` times that without delay.
A network of two units turns its state by an angle a step; the Jacobian of its learning flow at the optimum is taken by
central differences of the exact update, so that one program serves all angles and rules.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from localgrad.learning.flow import learn
from localgrad.models.aligned import Mode
from localgrad.models.linear import LinearRNN, random_network
from localgrad.modes.stability import spectrum
from localgrad.reproduction.axes import rule_axis
from localgrad.rules.compiled import in_compiled_form
from localgrad.rules.presets import BPTT, RFLO
from localgrad.rules.rule import Rule
from localgrad.updates.exact import exact_update
from localgrad.updates.horizon import Horizon

_STEP = 1e-6  # of the central differences
# What share of the largest rate a positive one must have to be more than rounding: of modes, and by differences.
GROWS, _GROWS_BY_DIFFERENCES = 1e-9, 1e-5
_LEAST_POLE = 0.1  # so that (m w*)^d is more than rounding, too


@dataclass(frozen=True)
class Parameters:
    """Random optima of modes; angles and radii of networks of two units; learning runs; delays in steps."""

    decays: tuple[float, ...] = (0.5, 0.9, -0.5)
    num_optima: int = 400
    delays: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    angles: tuple[float, ...] = (0.15, 0.2, 0.3, 0.5, 0.8, 1.2)
    radii: tuple[float, ...] = (0.6, 0.9)
    num_networks: int = 3
    longest: int = 20
    run_delays: tuple[int, ...] = (0, 1, 2, 4)
    duration: float = 400.0
    seed: int = 0


def mode_rules(p: Parameters) -> list[Rule]:
    """BPTT, and RFLO with each decay, all with positive feedback."""
    return [BPTT(), *(RFLO(1.0, decay) for decay in p.decays)]


def compute(p: Parameters) -> xr.Dataset:
    """Growth at optima of modes, critical delays of networks, and what runs learn."""
    return xr.merge([_modes(p), _networks(p), _runs(p)])


def _modes(p: Parameters) -> xr.Dataset:
    rng = np.random.default_rng(p.seed)
    w_star = rng.choice([-1, 1], p.num_optima) * rng.uniform(_LEAST_POLE, 0.9, p.num_optima)
    s = np.exp(rng.uniform(-1.5, 1.5, p.num_optima))
    rates = np.stack([[_rates(rule, delay, w_star, s) for delay in p.delays] for rule in mode_rules(p)])
    growth = rates.real.max(axis=-1) / np.abs(rates).max(axis=-1)
    product, on_time = (
        rates.prod(axis=-1).real,
        np.stack([_rates(r, 0, w_star, s) for r in mode_rules(p)]).prod(-1).real,
    )
    return xr.Dataset(
        {
            "growth": (("rule", "delay", "optimum"), growth),
            "product": (("rule", "delay", "optimum"), product / on_time[:, None]),
            "pole": ("optimum", w_star),
            "propagator": (("rule", "optimum"), [w_star, *(np.full_like(w_star, decay) for decay in p.decays)]),
        },
        rule_axis(mode_rules(p)) | {"delay": list(p.delays)},
    )


def _rates(rule: Rule, delay: int, w_star: np.ndarray, s: np.ndarray) -> np.ndarray:
    return spectrum(rule.with_delay(delay), Mode(1.0, 1.0, w_star), s)[..., 1:]


def _networks(p: Parameters) -> xr.Dataset:
    rng = np.random.default_rng(p.seed)
    shape = (len(p.angles), len(p.radii), p.num_networks)
    found = np.full((2, *shape), np.nan)
    for place in np.ndindex(shape):
        angle, radius = p.angles[place[0]], p.radii[place[1]]
        c, s = radius * np.cos(angle), radius * np.sin(angle)
        network = LinearRNN(rng.standard_normal((1, 2)), np.array([[c, -s], [s, c]]), rng.standard_normal((2, 1)))
        for i, rule in enumerate((BPTT(), RFLO(network.A, 0.5))):
            found[i][place] = _critical_delay(rule, network, p.longest)
    return xr.Dataset(
        {"critical": (("network_rule", "angle", "radius", "network"), found)},
        {"network_rule": [BPTT().key, RFLO(1.0, 0.5).key], "angle": list(p.angles), "radius": list(p.radii)},
    )


def _critical_delay(rule: Rule, network: LinearRNN, longest: int) -> float:
    """The smallest delay at which the network's own weights, the optimum, are unstable; NaN if none is found."""
    return next((float(d) for d in range(longest + 1) if _grows(rule.with_delay(d), network)), np.nan)


def _grows(rule: Rule, network: LinearRNN) -> bool:
    form = in_compiled_form(rule, *network.sizes[:2])
    leaves, structure = jax.tree.flatten(network)
    ends = np.cumsum([x.size for x in leaves])[:-1]

    def update(x: np.ndarray) -> np.ndarray:
        parts = [part.reshape(leaf.shape) for part, leaf in zip(np.split(x, ends), leaves, strict=True)]
        moved = exact_update(form, jax.tree.unflatten(structure, parts), network, Horizon())
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(moved)])

    x = np.concatenate([np.ravel(leaf) for leaf in leaves])
    columns = [update(x + _STEP * e) - update(x - _STEP * e) for e in np.eye(len(x))]
    rates = np.linalg.eigvals(-np.stack(columns, axis=1) / (2 * _STEP))
    return bool(rates.real.max() > _GROWS_BY_DIFFERENCES * np.abs(rates).max())


def _runs(p: Parameters) -> xr.Dataset:
    """Learning with RFLO from one start under several delays; the teacher's eigenvalues are positive."""
    keys = jax.random.split(jax.random.key(p.seed), 3)
    student = random_network(1, 8, 1, key=keys[0], scale=0.2)
    teacher = LinearRNN(jnp.ones((1, 2)), jnp.diag(jnp.array([0.7, 0.3])), jnp.array([[1.0], [0.5]]))
    rule = RFLO(jax.random.normal(keys[1], (1, 8)), 0.5)
    curves = [learn(rule.with_delay(d), student, teacher, duration=p.duration) for d in p.run_delays]
    return xr.Dataset(
        {
            "run_rank": ("run_delay", [int(curve.spectrum.W.rank[-1]) for curve in curves]),
            "run_loss": ("run_delay", [float(curve.loss[-1] / curve.silent_loss) for curve in curves]),
        },
        {"run_delay": list(p.run_delays)},
    )
