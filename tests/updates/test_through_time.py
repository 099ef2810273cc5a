"""Updates of networks of cells: recorded, online, by dense sensitivities and by JAX's gradient, for cells × rules."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import plain_cells
import pytest
from plain_cells import DRIVES, KINDS, OWN
from tiers import some

import localgrad as lg

N, INPUT, OUTPUT, T, BATCH = 3, 2, 2, 5, 2
RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(BATCH, T, INPUT)), RNG.normal(size=(BATCH, T, OUTPUT))
DECAYS = np.array([0.3, 0.5, 0.8])


class Case:
    """A cell with its numbers, its layer of the library, and the recording of the plain one."""

    def __init__(self, kind):
        rng = np.random.default_rng(KINDS.index(kind))
        k, width = DRIVES.get(kind, 1), (2 if kind in ("LRU", "S5", "Selective") else 1) * N
        lead = () if k == 1 else (k,)
        self.kind, self.width = kind, width
        own = {name: value + 0.1 * rng.normal(size=N) for name, value in OWN.get(kind, {}).items()}
        self.p = {"B": rng.normal(size=(*lead, N, INPUT)), "bias": rng.normal(size=(*lead, N)), **own}
        if width == N:
            self.p["W"] = rng.normal(size=(*lead, N, N))
        self.A, self.R = rng.normal(size=(2, OUTPUT, width))
        self.c = rng.normal(size=OUTPUT)
        layer = getattr(lg.cells, kind)(**{"W": None} | self.p, learns=tuple(self.p))
        self.network = lg.Network(layer, lg.Readout(self.A, self.c))
        self.record = plain_cells.recording(kind, self.p, self.A, self.c, X, Y)

    def expected(self, F, **rule):
        return plain_cells.update(self.kind, self.A, self.record, F, **rule)


case = cache(Case)


def assert_updates(found, expected, tolerance=1e-10):
    for name, value in expected.items():
        scale = max(np.abs(value).max(), 1e-6)
        np.testing.assert_allclose(getattr(found.layers[0], name), value, rtol=0, atol=tolerance * scale, err_msg=name)


def rule_of(F, parts):
    """A rule all whose parts are present, so that one compiled program serves all of a cell."""
    numbers = {name: parts.get(name, 0.0) for name in ("full", "diagonal", "internal")}
    decay = np.broadcast_to(parts.get("decay", 0.0), (N,))
    if not numbers["full"]:
        numbers["full"] = None
    return lg.Rule(lg.Feedback(fixed=F), lg.Propagator(**numbers, decay=decay))


LOCAL = {
    "internal": {"internal": 1.0},
    "diagonal": {"diagonal": 1.0},
    "decay": {"decay": 0.6},
    "blend": {"diagonal": 0.5, "internal": -0.3, "decay": 0.2},
}


@pytest.mark.parametrize("kind", some(KINDS, ("LeakyRate", "AdaptiveLIF")))
class TestCellsAndRules:
    def test_local_rules_recorded_online_and_by_dense_sensitivities(self, kind):
        at = case(kind)
        for parts in LOCAL.values():
            rule = rule_of(at.R, parts)
            expected = at.expected(at.R, **parts)
            for method in ("recorded", "online"):
                found, info = lg.network_update(rule, at.network, X, Y, method=method)
                assert_updates(found, expected)
                assert info.method == method

    def test_bptt_is_the_gradient_of_jax_and_of_real_time_recurrent_learning(self, kind):
        at = case(kind)
        value, (by_p, by_A, by_c) = plain_cells.gradient(kind, at.p, at.A, at.c, X, Y)
        for method in ("recorded", "online"):
            found, info = lg.network_update(lg.BPTT(), at.network, X, Y, method=method)
            assert_updates(found, by_p)
            np.testing.assert_allclose(found.readout.A, by_A, atol=1e-12)
            np.testing.assert_allclose(found.readout.bias, by_c, atol=1e-12)
            np.testing.assert_allclose(info.loss, value, rtol=1e-12)
        assert_updates(found, at.expected(at.A, full=1.0))


class TestRules:
    """Forms of rules, on one cell."""

    @pytest.mark.parametrize(
        ("rule", "parts"),
        [
            (lg.TruncatedBPTT(1), {"lags": 1}),
            (lg.TruncatedBPTT(3), {"full": 1.0, "lags": 3}),
            (lg.Rule("symmetric", lg.Propagator.blend(0.3, 0.5)), {"full": 0.7, "decay": 0.15}),
            (lg.Rule("symmetric", "diagonal", 2), {"diagonal": 1.0, "lags": 2}),
            (lg.EProp(), {"diagonal": 1.0}),
        ],
        ids=lambda x: getattr(x, "key", ""),
    )
    def test_lags_and_blends(self, rule, parts):
        at = case("LeakyRate")
        found, _ = lg.network_update(rule, at.network, X, Y)
        assert_updates(found, at.expected(at.A, **parts))
        if rule.lags == 1 or (rule.lags is None and rule.propagator.is_elementwise):
            found, _ = lg.network_update(rule, at.network, X, Y, method="online")
            assert_updates(found, at.expected(at.A, **parts))
        else:
            with pytest.raises(ValueError, match="use method 'recorded'"):
                lg.network_update(rule, at.network, X, Y, method="online")

    @pytest.mark.slow
    @pytest.mark.parametrize(("propagator", "parts"), [("internal", {"internal": 1.0}), ("full", {"full": 1.0})])
    @pytest.mark.parametrize("delay", [2, T + 1])
    def test_late_errors_meet_the_traces_of_their_arrival(self, propagator, parts, delay):
        """Both ways online, and backwards; the sequence runs on in silence until the last error has arrived."""
        at = case("LeakyRate")
        silent = [np.concatenate([x, np.zeros((BATCH, delay, x.shape[2]))], axis=1) for x in (X, Y)]
        record = plain_cells.recording("LeakyRate", at.p, at.A, at.c, *silent)
        record = (*record[:-1], record[-1] * (np.arange(T + delay) < T)[:, None])
        expected = plain_cells.update("LeakyRate", at.A, record, at.A, delay=delay, **parts)
        rule = lg.Rule("symmetric", propagator, delay=delay)
        for method in ("recorded", "online"):
            found, info = lg.network_update(rule, at.network, X, Y, method=method)
            assert_updates(found, {name: x * (T + delay) / T for name, x in expected.items()})
        np.testing.assert_allclose(info.loss, lg.network_update(lg.BPTT(), at.network, X, Y)[1].loss, rtol=1e-12)

    @pytest.mark.parametrize("loss", ["final", "sequence"])
    def test_late_errors_are_those_of_linear_networks_in_the_mean(self, loss):
        """An update is quadratic in the input, so that its mean over white noise is its sum over single pulses."""
        rng, delay = np.random.default_rng(4), 3
        shapes = (OUTPUT, N), (N, N), (N, INPUT)
        student, teacher = (lg.LinearRNN(*(0.4 * rng.normal(size=s) for s in shapes)) for _ in range(2))
        rule = lg.Rule(case("Linear").R, 0.5, delay=delay)
        expected = lg.expected_update(rule, student, teacher, horizon=T, loss=loss)
        pulses = np.eye(T * INPUT).reshape(-1, T, INPUT)
        h, targets = np.zeros((len(pulses), N)), []
        for t in range(T):
            h = h @ np.asarray(teacher.W).T + pulses[:, t] @ np.asarray(teacher.B).T
            targets.append(h @ np.asarray(teacher.A).T)
        network = lg.Network(lg.cells.Linear(student.W, student.B, None), lg.Readout(student.A))
        mask = np.ones((len(pulses), T)) if loss == "sequence" else np.eye(T)[[-1] * len(pulses)]
        found, _ = lg.network_update(rule, network, pulses, np.stack(targets, 1), mask=mask)
        for own, other in zip((found.readout.A, found.layers[0].W, found.layers[0].B), expected.matrices, strict=True):
            np.testing.assert_allclose(len(pulses) * own, other, atol=1e-12)

    def test_terms_of_ones_own_act_on_the_jacobian(self):
        at = case("LeakyRate")
        mask = np.eye(N)
        found, _ = lg.network_update(lg.Rule("symmetric", lg.Mask(mask)), at.network, X, Y)
        assert_updates(found, at.expected(at.A, diagonal=1.0))
        with pytest.raises(ValueError, match="the term Mask acts on a Jacobian of one number a unit, but a LSTM has 2"):
            lg.network_update(lg.Rule("symmetric", lg.Mask(mask)), case("LSTM").network, X, Y)

    def test_fixed_matrices_stand_in_place_of_the_weights(self):
        """ModProp: `M = J₀` and a constant matrix."""
        at, K = case("LeakyRate"), np.random.default_rng(5).normal(size=(N, N))
        found, _ = lg.network_update(lg.Rule("symmetric", "internal" + lg.FixedMatrix(K)), at.network, X, Y)
        mixing = K[None, None] @ np.eye(N)
        own, through, by_p, before, after, errors = at.record
        replaced = (own, np.broadcast_to(mixing[:, :, None], through.shape), by_p, before, after, errors)
        expected = plain_cells.update("LeakyRate", at.A, replaced, at.A, full=1.0)
        assert_updates(found, expected)


class TestKnownTraps:
    """What published code has confused differs here (docs/theory.md, section 12)."""

    def update(self, kind, rule):
        return np.asarray(lg.network_update(rule, case(kind).network, X, Y)[0].layers[0].W)

    def test_truncation_to_one_step_carries_nothing_through_the_leak(self):
        one, leaking = self.update("LeakyRate", lg.TruncatedBPTT(1)), self.update("LeakyRate", lg.BellecEProp())
        assert np.abs(one - leaking).max() > 1e-3

    def test_bellecs_trace_on_rate_units_is_murrays_and_snap_1_is_another(self):
        at = case("LeakyRate")
        bellec, murray = (self.update("LeakyRate", r) for r in (lg.BellecEProp(at.R), lg.RFLO(at.R, "internal")))
        np.testing.assert_array_equal(bellec, murray)
        assert np.abs(bellec - self.update("LeakyRate", lg.EProp(at.R))).max() > 1e-3

    def test_rates_that_leak_and_potentials_that_leak_are_two_rules(self):
        at = case("LeakyRate")
        potential = lg.cells.LeakyPotential(**at.p)
        other = lg.Network(potential, at.network.readout)
        rule = lg.RFLO(at.R, "internal")
        found = lg.network_update(rule, other, X, Y)[0].layers[0].W
        assert np.abs(found - self.update("LeakyRate", rule)).max() > 1e-3

    def test_errors_act_in_their_own_step(self):
        """A trace, or an error, one step late is another rule: that of a delay of one."""
        at = case("LeakyRate")
        on_time, late = (at.expected(at.R, internal=1.0, delay=d)["W"] for d in (0, 1))
        assert np.abs(on_time - late).max() > 1e-3
        np.testing.assert_allclose(self.update("LeakyRate", lg.RFLO(at.R, "internal")), on_time, atol=1e-12)


def test_the_linear_cell_is_the_linear_network():
    """Sequences of white noise to a linear teacher: the same update as sampled training of a linear network."""
    from localgrad.tasks.linear_task import as_task
    from localgrad.updates.sampled import METHODS, Noise

    rng = np.random.default_rng(0)
    shapes = (OUTPUT, N), (N, N), (N, INPUT)
    student, teacher = (lg.LinearRNN(*(0.4 * rng.normal(size=s) for s in shapes)) for _ in range(2))
    task, noise = as_task(teacher), Noise(jax.random.key(0), T, BATCH)
    rule = lg.RFLO(case("Linear").R, 0.5)
    expected, loss = METHODS["recorded"](rule, student, task, noise, "sequence")
    inputs = jnp.swapaxes(noise.all(task), 0, 1)
    h, targets = jnp.zeros((BATCH, N)), []
    for t in range(T):
        h = h @ teacher.W.T + inputs[:, t] @ teacher.B.T
        targets.append(h @ teacher.A.T)
    network = lg.Network(lg.cells.Linear(student.W, student.B, None), lg.Readout(student.A))
    found, info = lg.network_update(rule, network, inputs, jnp.stack(targets, 1))
    for own, other in ((found.layers[0].W, expected.W), (found.layers[0].B, expected.B), (found.readout.A, expected.A)):
        np.testing.assert_allclose(own, other, atol=1e-12)
    np.testing.assert_allclose(info.loss, loss, rtol=1e-12)


@pytest.mark.slow
def test_the_toy_gradient_of_an_lru():
    """λ = ½, γ = 1, B = 2 + 2i, C = 2 + i, x = 1, 2, 3, y = 1 in all steps: values published with online LRUs."""

    class Direct(lg.Cell):
        real: float
        imaginary: float
        gain: float
        states = emitted = 2
        learned = ("B", "real", "imaginary", "gain")

        def local(self, s, u):
            turned = jnp.stack([self.real * s[0] - self.imaginary * s[1], self.real * s[1] + self.imaginary * s[0]])
            return turned + self.gain * u

        def emit(self, s):
            return s

    cell = Direct(None, [[[2.0]], [[2.0]]], None, 0.5, 0.0, 1.0)
    network = lg.Network(cell, lg.Readout([[2.0, -1.0]]))
    for method in ("recorded", "online"):
        x, y = np.array([[[1.0], [2.0], [3.0]]]), np.ones((1, 3, 1))
        found = lg.network_update(lg.BPTT(), network, x, y, method=method)[0].layers[0]
        # Theirs is the sum over steps.
        by_pole = 3 * (found.real[0] - 1j * found.imaginary[0])  # ∂/∂Re − i ∂/∂Im
        np.testing.assert_allclose(by_pole, 53 + 159j, rtol=1e-12)
        np.testing.assert_allclose(3 * found.gain[0], 85.75, rtol=1e-12)
        np.testing.assert_allclose(3 * found.B.ravel(), [85.75, -42.875], rtol=1e-12)  # ∂/∂Re, ∂/∂Im
