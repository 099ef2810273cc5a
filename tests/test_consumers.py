"""Every consumer of a rule, with every kind of term: it does what the term says, or refuses it in one sentence.

What a term says is told once more in plain NumPy, as `F` of a readout and `M` of a Jacobian, and as `f` and `m` of a
mode. A consumer
that took a rule for another one would disagree with that; one that stumbles over it would not raise a `ValueError`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    FEEDBACK,
    HIDDEN,
    LAYER,
    LAYER_TEACHER,
    OUTPUT,
    STUDENT,
    TEACHER,
    assert_close,
    layer,
    matrices,
    network,
)
from oracles import brute_force_update, layer_update, updates_of_noise
from tiers import some

import localgrad as lg
from localgrad.modes.derivation import derive
from localgrad.modes.notation import STUDENT as SYMBOLS
from localgrad.rules.compiled import in_general_form
from localgrad.tasks.linear_task import as_task
from localgrad.updates.sampled import Noise

A, W, _ = STUDENT
EYE = np.eye(HIDDEN)
SYMMETRIC_MASK = (np.random.default_rng(8).random((OUTPUT, HIDDEN)) < 0.5).astype(float)
MASK = (np.random.default_rng(9).random((HIDDEN, HIDDEN)) < 0.5).astype(float)


class Cubed(lg.Term):
    """Of one's own, written in plain arithmetic: runs on numbers, arrays, derivatives and symbols."""

    def __call__(self, matrix):
        return matrix**3

    def on_mode(self, x):
        return x**3


class NetworksOnly(lg.Term):
    """Of one's own, without `on_mode`."""

    def __call__(self, matrix):
        return jnp.tanh(matrix)


class Leaks(lg.Term):
    """Of one's own, diagonal."""

    is_elementwise = True

    def __call__(self, matrix):
        return jnp.full((matrix.shape[-1], 1), 0.3, matrix.dtype)

    def on_mode(self, x):
        return 0.3

    @property
    def affine(self):
        return 0.3, 0.0


@dataclass(frozen=True)
class Kind:
    """A rule with a term, and what it should be: `F(A)`, `M(J)`, and `f(a)`, `m(w)` on a mode (`None`: refused)."""

    rule: lg.Rule
    F_of: Callable[[np.ndarray], np.ndarray]
    M_of: Callable[[np.ndarray], np.ndarray]
    mode_rule: lg.Rule
    f: Callable[[float], float] | None
    m: Callable[[float], float] | None

    @property
    def F(self) -> np.ndarray:
        return self.F_of(A)

    @property
    def M(self) -> np.ndarray:
        return self.M_of(W)

    @property
    def has_modes(self) -> bool:
        return self.f is not None and self.m is not None


def of_feedback(term: lg.Term, F: Any, mode_term: lg.Term, f: Any) -> Kind:
    return Kind(lg.Rule(term, 0.4), F, lambda J: 0.4 * EYE, lg.Rule(mode_term, 0.4), f, lambda w: 0.4)


def of_propagator(term: lg.Term, M: Any, mode_term: lg.Term, m: Any) -> Kind:
    return Kind(lg.Rule(FEEDBACK, term), lambda A: FEEDBACK, M, lg.Rule(-0.7, mode_term), lambda a: -0.7, m)


def nearest_of_rank_2(J: np.ndarray) -> np.ndarray:
    U, S, Vt = np.linalg.svd(J)
    return (U[:, :2] * S[:2]) @ Vt[:2]


def in_halves(x: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(x):
        return in_halves(x.real) + 1j * in_halves(x.imag)
    return np.floor(2 * x + 0.5) / 2


KINDS = {
    "sign-symmetric": of_feedback(
        lg.SignSymmetric(0.5), lambda A: 0.5 * A / np.abs(A), lg.SignSymmetric(0.5), lambda a: 0.5
    ),
    "masked-feedback": of_feedback(
        lg.Mask(SYMMETRIC_MASK), lambda A: SYMMETRIC_MASK * A, lg.Mask(0.8), lambda a: 0.8 * a
    ),
    "quantized": of_feedback(lg.Quantized(0.5), in_halves, lg.Quantized(0.5), lambda a: np.floor(2 * a + 0.5) / 2),
    "coarse": of_feedback(
        lg.Coarse(FEEDBACK, lg.Mask(SYMMETRIC_MASK), lg.Quantized(0.5)),
        lambda A: in_halves(SYMMETRIC_MASK * FEEDBACK),
        lg.Coarse(-0.7, lg.Quantized(0.5)),
        lambda a: -0.5,
    ),
    "own-feedback": of_feedback(Cubed(), lambda A: A**3, Cubed(), lambda a: a**3),
    "networks-only-feedback": of_feedback(NetworksOnly(), np.tanh, NetworksOnly(), None),
    "weight-mirror": of_feedback(lg.WeightMirror(FEEDBACK, 0.5), lambda A: FEEDBACK, lg.WeightMirror(-0.7, 0.5), None),
    "kolen-pollack": of_feedback(lg.KolenPollack(FEEDBACK, 0.5), lambda A: FEEDBACK, lg.KolenPollack(-0.7, 0.5), None),
    "mask": of_propagator(lg.Mask(MASK), lambda J: MASK * J, lg.Mask(0.8), lambda w: 0.8 * w),
    "fixed-matrix": of_propagator(
        lg.FixedMatrix(0.5 * MASK.T), lambda J: 0.5 * MASK.T, lg.FixedMatrix(0.3), lambda w: 0.3
    ),
    "low-rank": of_propagator(lg.LowRank(2), nearest_of_rank_2, lg.LowRank(1), None),
    "own-propagator": of_propagator(Cubed(), lambda J: J**3, Cubed(), lambda w: w**3),
    "own-diagonal": of_propagator(Leaks(), lambda J: 0.3 * EYE, Leaks(), lambda w: 0.3),
    "networks-only-propagator": of_propagator(NetworksOnly(), np.tanh, NetworksOnly(), None),
}
# Each kind has compiled programs of its own: some in the fast tier, all in the slow one.
_FAST = ("coarse", "kolen-pollack", "low-rank", "own-diagonal")
every_kind = pytest.mark.parametrize("kind", some(KINDS.items(), _FAST))
START, TARGET = lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6)


@every_kind
class TestNetworks:
    @pytest.mark.parametrize("settings", [{}, {"method": "lags"}, {"horizon": 5}, {"horizon": 5, "loss": "sequence"}])
    def test_expected_updates(self, kind, settings):
        finite = {key: value for key, value in settings.items() if key != "method"}
        expected = brute_force_update(kind.F, kind.M, None, STUDENT, TEACHER, **finite)
        update = lg.expected_update(kind.rule, network(STUDENT), network(TEACHER), **settings)
        assert_close(matrices(update), expected, 1e-7)  # the slowest sum has not quite ended at 60 lags

    def test_updates_compiled_by_the_user(self, kind):
        one = jax.jit(lambda rule, net: lg.expected_update(rule, net, network(TEACHER)))(kind.rule, network(STUDENT))
        assert_close(matrices(one), matrices(lg.expected_update(kind.rule, network(STUDENT), network(TEACHER))), 1e-12)

    def test_in_general_form(self, kind):
        general = in_general_form(kind.rule, OUTPUT, HIDDEN)
        update = lg.expected_update(general, network(STUDENT), network(TEACHER), horizon=5)
        assert_close(matrices(update), brute_force_update(kind.F, kind.M, None, STUDENT, TEACHER, 5), 1e-12)

    def test_comparison(self, kind):
        found = lg.compare_updates([kind.rule], network(STUDENT), network(TEACHER))
        update, gradient = (
            np.concatenate([x.ravel() for x in brute_force_update(F, M, None, STUDENT, TEACHER)])
            for F, M in ((kind.F, kind.M), (A, W))
        )
        expected = update @ gradient / np.linalg.norm(update) / np.linalg.norm(gradient)
        np.testing.assert_allclose(found.whole.cosine[0], expected, rtol=1e-6)

    @pytest.mark.parametrize("method", ["correlation", "recorded", "online"])
    def test_sampled_updates(self, kind, method):
        settings = {"learning_rate": 0.1, "batch_size": 3, "horizon": 4, "method": method}
        if method == "online" and not kind.rule.propagator.is_elementwise:
            with pytest.raises(ValueError, match="dense matrix, which no eligibility trace holds"):
                lg.Trainer(kind.rule, network(TEACHER), **settings).init(network(STUDENT))
            return
        update, _ = lg.Trainer(kind.rule, network(TEACHER), **settings).update(jax.random.key(0), network(STUDENT))
        noise = np.asarray(Noise(jax.random.key(0), 4, 3).all(as_task(network(TEACHER))))
        expected = updates_of_noise(kind.F, kind.M, None, STUDENT, TEACHER, noise, "final")
        assert_close(matrices(update), [x.mean(axis=0) for x in expected], 1e-11)

    def test_description(self, kind):
        F, M = kind.rule.describe().split("F = ")[1].split(", M = ")
        assert "0" not in (F, M.partition(",")[0])
        assert M.partition(",")[0] != "J"


def refusal_of(action: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
        action()
    return str(error.value)


def of_kinds(*names: str) -> list[tuple[str, Kind]]:
    return [(name, KINDS[name]) for name in names]


# What a layer refuses: propagators that mix units, and feedback that learns.
MIXING = ("kolen-pollack", "mask", "fixed-matrix", "low-rank", "own-propagator")


@pytest.mark.parametrize("kind", some(of_kinds("coarse", "low-rank", "own-diagonal"), ("coarse",)))
def test_kernels_are_those_of_the_update(kind):
    found = lg.kernel(kind.rule, network(STUDENT), network(TEACHER), horizon=5)
    expected = brute_force_update(kind.F, kind.M, None, STUDENT, TEACHER, 5)
    update = found.credit @ found.errors.ravel()
    np.testing.assert_allclose(update, np.concatenate([x.ravel() for x in expected]), atol=1e-11)


@pytest.mark.parametrize(
    "kind", some(of_kinds("coarse", "kolen-pollack", "mask", "low-rank", "own-diagonal"), ("coarse", "low-rank"))
)
def test_leaky_networks(kind):
    """A leaky network is the network `(A, (1 − α) I + αW, αB)`, and its W and B learn α times as fast."""
    A, W, B = STUDENT
    leak = np.linspace(0.3, 0.9, HIDDEN)[:, None]
    J = (1 - leak) * EYE + leak * W
    dA, dJ, dB = brute_force_update(kind.F, kind.M_of(J), None, (A, J, leak * B), TEACHER)
    found = lg.expected_update(kind.rule, lg.LeakyRNN(A, W, B, leak[:, 0]), network(TEACHER))
    assert_close((found.A, found.W, found.B), (dA, leak * dJ, leak * dB), 1e-6)


@pytest.mark.parametrize(
    "kind", some(of_kinds("sign-symmetric", "coarse", "own-diagonal", *MIXING), ("coarse", "low-rank", "kolen-pollack"))
)
def test_layers(kind):
    student, teacher, over = layer(LAYER), layer(LAYER_TEACHER), {"horizon": 5, "loss": "sequence"}
    if kind.rule.learns or not kind.rule.propagator.is_elementwise:
        words = refusal_of(lambda: lg.expected_update(kind.rule, student, teacher, **over))
        assert "learns is real" in words or type(kind.rule.terms[0]).__name__ in words
        return
    F, m = kind.F_of(LAYER[0]), np.diag(kind.M_of(np.diag(LAYER[1])))
    expected = layer_update(F, m, None, LAYER, LAYER_TEACHER, 5, "sequence")
    assert_close(lg.expected_update(kind.rule, student, teacher, **over).arrays, expected, 1e-9)


MODE_CONSUMERS = {
    "mode_update": lambda rule: lg.mode_update(rule, START, TARGET),
    "mode_jacobian": lambda rule: lg.mode_jacobian(rule, START, TARGET),
    "spectrum": lambda rule: lg.spectrum(rule, TARGET, 0.8),
    "convergence_rate": lambda rule: lg.convergence_rate(rule, TARGET, 0.8),
    "critical_learning_rate": lambda rule: lg.critical_learning_rate(rule, TARGET, 0.8),
    "rate_crossings": lambda rule: lg.rate_crossings(rule, lg.BPTT(), TARGET, 0.1, 2.0),
    "learn_mode": lambda rule: lg.learn_mode(rule, START, TARGET, duration=5.0),
    "derive": lambda rule: derive(rule),
    "fixed_points": lambda rule: lg.fixed_points(rule, TARGET),
    "search_fixed_points": lambda rule: lg.search_fixed_points(rule, TARGET, num_starts=5),
    "integrate_modes": lambda rule: lg.integrate_modes(rule, START, TARGET, duration=5.0),
    "basins": lambda rule: lg.basins(rule, TARGET, a=[-1.0, 1.0], b=1.0, w=0.0, duration=5.0),
}


@pytest.mark.parametrize("consumer", MODE_CONSUMERS)
@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.has_modes])
def test_terms_without_modes_are_refused(name, consumer):
    words = refusal_of(lambda: MODE_CONSUMERS[consumer](KINDS[name].mode_rule))
    assert type(KINDS[name].mode_rule.terms[0]).__name__ in words


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.has_modes])
class TestModes:
    """One unit is a mode; central differences have an error of about 1e-9."""

    @staticmethod
    def update(kind, student):
        one_unit = [tuple(np.full((1, 1), x) for x in (mode.a, mode.w, mode.b)) for mode in (student, TARGET)]
        F, M = np.full((1, 1), kind.f(student.a)), np.full((1, 1), kind.m(student.w))
        dA, dW, dB = brute_force_update(F, M, None, *one_unit)
        return np.array([dA.item(), dB.item(), dW.item()])

    def test_updates(self, name):
        found = lg.mode_update(KINDS[name].mode_rule, START, TARGET)
        np.testing.assert_allclose(found, self.update(KINDS[name], START), rtol=1e-9)

    def test_jacobian(self, name):
        found = lg.mode_jacobian(KINDS[name].mode_rule, START, TARGET)
        for column, step in enumerate(np.eye(3) * 1e-5):
            up, down = (self.update(KINDS[name], lg.Mode(*(np.array(START) + sign * step))) for sign in (1, -1))
            np.testing.assert_allclose(found[:, column], -(up - down) / 2e-5, rtol=1e-6, atol=1e-6)

    def test_trajectories_start_along_the_flow(self, name):
        path = lg.learn_mode(KINDS[name].mode_rule, START, TARGET, duration=1e-4)
        velocity = (np.array(path.final) - np.array(START)) / 1e-4
        np.testing.assert_allclose(velocity, -self.update(KINDS[name], START), rtol=2e-3, atol=2e-3)

    def test_symbols(self, name):
        found = derive(KINDS[name].mode_rule)
        values = dict(zip(SYMBOLS, START, strict=True))
        assert float(found.feedback.subs(values)) == pytest.approx(KINDS[name].f(START.a))
        assert float(found.propagator.subs(values)) == pytest.approx(KINDS[name].m(START.w))

    @pytest.mark.parametrize("consumer", ["fixed_points", "integrate_modes", "basins"])
    def test_what_needs_affine_rules(self, name, consumer):
        rule = KINDS[name].mode_rule
        if rule.affine is None:
            words = refusal_of(lambda: MODE_CONSUMERS[consumer](rule))
            assert f"the term {type(rule.terms[0]).__name__} is not" in words
        else:
            MODE_CONSUMERS[consumer](rule)
            phi0, phi1, mu0, mu1 = rule.affine
            assert phi0 + phi1 * 0.8 == pytest.approx(KINDS[name].f(0.8))
            assert mu0 + mu1 * 0.5 == pytest.approx(KINDS[name].m(0.5))

    def test_ensembles_follow_the_same_flow(self, name):
        rule = KINDS[name].mode_rule
        if rule.affine is None:
            pytest.skip("refused, see above")
        one = lg.integrate_modes(rule, START, TARGET, duration=1.0, early_stop=False)
        path = lg.learn_mode(rule, START, TARGET, duration=1.0)
        np.testing.assert_allclose(list(one.final), list(path.final), rtol=1e-4, atol=1e-4)


@every_kind
def test_rules_with_terms_are_pytrees_of_their_numbers(kind):
    leaves, structure = jax.tree.flatten(kind.rule)
    assert eqx.tree_equal(jax.tree.unflatten(structure, leaves), kind.rule)
