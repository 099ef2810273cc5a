"""Parametrised poles `w = g(ν)`: against finite differences in `ν`, and against the direct mode."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import localgrad as lg
from localgrad.models.poles import POLES, find_poles
from localgrad.modes.derivation import derive, symbolic_rule
from localgrad.modes.ensemble.logarithm import log as _log
from localgrad.modes.notation import STUDENT, TEACHER, C, S
from localgrad.outcomes import ROUNDING_GAP, Outcome

BOUNDED = ("tanh", "lru")
RULES = {
    "bptt": lg.BPTT(),
    "tbptt-4": lg.TruncatedBPTT(4),
    "rflo": lg.RFLO(1.3, 0.5),
    "rflo-wrong-sign": lg.RFLO(-0.8, -0.6),
    "eprop-random": lg.EProp(0.7),
    "blend": lg.Rule(lg.Feedback.blend(0.4, -0.9), lg.Propagator.blend(0.3, 0.6)),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
every_pole = pytest.mark.parametrize("poles", BOUNDED)


def random_optima(count=200, seed=0):
    """Teachers with `w*` between 0 and 1, and places `s`."""
    rng = np.random.default_rng(seed)
    a, b, s = rng.choice([-1, 1], (3, count)) * np.exp(rng.uniform(-1, 1, (3, count)))
    return lg.Mode(a, b, rng.uniform(0.05, 0.9, count)), s


class TestParametrisation:
    @pytest.mark.parametrize("poles", POLES.values(), ids=POLES)
    def test_inverse_and_slope(self, poles):
        w = np.linspace(0.05, 0.95, 19)
        nu, step = poles.coordinate(w), 1e-6
        np.testing.assert_allclose(poles.pole(nu), w, rtol=1e-13)
        slope = (poles.pole(nu + step) - poles.pole(nu - step)) / (2 * step)
        np.testing.assert_allclose(poles.slope(w) * np.ones_like(w), slope, rtol=1e-7)
        np.testing.assert_allclose(poles.speed(w) * np.ones_like(w), slope**2, rtol=1e-7)
        for inside in poles.pole(np.array([-3.0, 0.0, 3.0])) if poles.stays_inside else []:
            assert poles.low < inside < poles.high

    @pytest.mark.parametrize("poles", POLES.values(), ids=POLES)
    def test_runs_on_symbols_and_in_jax(self, poles):
        w = sympy.Symbol("w")
        np.testing.assert_allclose(float(sympy.sympify(poles.speed(w)).subs(w, 0.3)), poles.speed(0.3), rtol=1e-15)
        np.testing.assert_allclose(poles.speed(jnp.float64(0.3)), poles.speed(0.3), rtol=1e-15)
        np.testing.assert_allclose(poles.pole(poles.coordinate(jnp.float64(0.3))), 0.3, rtol=1e-14)

    @pytest.mark.parametrize("poles", POLES.values(), ids=POLES)
    def test_pickles(self, poles):
        assert pickle.loads(pickle.dumps(poles)) is poles

    @pytest.mark.parametrize("poles", ["exp", None, 3])
    def test_others_are_refused(self, poles):
        with pytest.raises(ValueError, match="poles must be 'direct', 'tanh' or 'lru', got"):
            find_poles(poles)


class TestField:
    @every_pole
    def test_bptt_is_the_gradient_by_what_is_trained(self, poles):
        """`Δθ` of `(a, b, ν)` is the loss's finite difference; `mode_update` tells it as the movement of `w`."""
        parametrisation, teacher = find_poles(poles), lg.Mode(0.7, -1.2, 0.6)
        a, b, w = 0.9, 0.4, 0.3
        nu, step = parametrisation.coordinate(w), 1e-6

        def loss(a, b, nu):
            return lg.mode_loss(lg.Mode(a, b, parametrisation.pole(nu)), teacher)

        point = np.array([a, b, nu])
        gradient = [(loss(*(point + step * e)) - loss(*(point - step * e))) / (2 * step) for e in np.eye(3)]
        update = lg.mode_update(lg.BPTT(), lg.Mode(a, b, w), teacher, poles=poles)
        found = np.array(update) / [1, 1, parametrisation.slope(w)]
        np.testing.assert_allclose(found, gradient, rtol=1e-7)

    @every_rule
    @every_pole
    def test_only_the_pole_learns_at_another_speed(self, rule, poles):
        student, teacher = lg.Mode(0.9, 0.4, np.array([0.2, 0.7])), lg.Mode(0.7, -1.2, 0.6)
        dense, found = lg.mode_update(rule, student, teacher), lg.mode_update(rule, student, teacher, poles=poles)
        assert found.a.tolist() == dense.a.tolist()
        assert found.b.tolist() == dense.b.tolist()
        np.testing.assert_allclose(found.w, find_poles(poles).speed(student.w) * dense.w, rtol=1e-15)

    @every_rule
    @every_pole
    def test_jacobian_is_that_of_the_update(self, rule, poles):
        student, teacher, step = np.array([0.9, 0.4, 0.3]), lg.Mode(0.7, -1.2, 0.6), 1e-6

        def update(point):
            return np.array(lg.mode_update(rule, lg.Mode(*point), teacher, poles=poles))

        columns = [(update(student + step * e) - update(student - step * e)) / (2 * step) for e in np.eye(3)]
        J = lg.mode_jacobian(rule, lg.Mode(*student), teacher, poles=poles)
        np.testing.assert_allclose(J, -np.array(columns).T, rtol=1e-6, atol=1e-8)
        in_jax = lg.mode_jacobian(rule, lg.Mode(*map(jnp.float64, student)), teacher, poles=poles)
        np.testing.assert_allclose(in_jax, J, rtol=1e-12, atol=1e-14)

    def test_outside_the_range_is_refused_or_nan(self):
        inside, outside = lg.Mode(1.0, 1.0, 0.5), lg.Mode(1.0, 1.0, -0.3)
        for student, teacher, owner in ((outside, inside, "student"), (inside, outside, "teacher")):
            with pytest.raises(ValueError, match=rf"{owner} w = -0.3 must lie strictly between 0 and 1 with lru poles"):
                lg.mode_update(lg.BPTT(), student, teacher, poles="lru")
            traced = jax.jit(lambda x, y: lg.mode_update(lg.BPTT(), x, y, poles="lru"))(student, teacher)
            assert np.isnan(traced).all()


class TestSpectrum:
    @every_rule
    @every_pole
    def test_is_numpys(self, rule, poles):
        teacher, s = random_optima()
        J = lg.mode_jacobian(rule, lg.optimal_mode(teacher, s), teacher, poles=poles)
        found = lg.spectrum(rule, teacher, s, poles=poles)
        scale = np.abs(J).max(axis=(1, 2))
        np.testing.assert_allclose(found.sum(axis=-1) / scale, np.trace(J, axis1=1, axis2=2) / scale, atol=1e-13)
        determinant = np.linalg.det(J[:, :2, :2])  # the rows of a and b are parallel
        assert np.abs(determinant / scale**2).max() < 1e-13

    @every_rule
    @every_pole
    def test_the_minors_are_the_direct_ones_times_rho(self, rule, poles):
        teacher, s = random_optima()
        dense, found = lg.spectrum(rule, teacher, s), lg.spectrum(rule, teacher, s, poles=poles)
        products = [(x[:, 1] * x[:, 2]).real for x in (dense, found)]
        np.testing.assert_allclose(products[1], find_poles(poles).speed(teacher.w) * products[0], rtol=1e-9)

    @every_pole
    def test_bptt_is_real_and_negative(self, poles):
        values = lg.spectrum(lg.BPTT(), *random_optima(1000), poles=poles)[:, 1:]
        assert np.abs(values.imag).max() == 0
        assert values.real.max() < 0

    @every_pole
    def test_rflos_saddle_border_is_the_direct_one(self, poles):
        """Where `âs < 0`, a saddle is exactly where `|s| < (c²/|â|)^{1/3}` (docs/theory.md, section 7)."""
        teacher, _ = random_optima()
        border = np.cbrt((teacher.a * teacher.b) ** 2 / 0.8)
        for factor, is_saddle in ((0.999, True), (1.001, False)):
            values = lg.spectrum(lg.RFLO(-0.8, 0.5), teacher, factor * border, poles=poles)[:, 1:]
            assert (((values[:, 0] * values[:, 1]).real < 0) == is_saddle).all()

    @every_pole
    def test_critical_rate_is_that_of_steps_of_what_is_trained(self, poles):
        """Just below it steps of `(a, b, ν)` come back to the optimum, just above they do not."""
        rule, teacher, parametrisation = lg.RFLO(1.0, 0.5), lg.Mode(1.0, 1.0, 0.6), find_poles(poles)
        limit = float(lg.critical_learning_rate(rule, teacher, 1.1, poles=poles))
        for factor, comes_back in ((0.97, True), (1.03, False)):
            a, b, w = (float(x) for x in lg.optimal_mode(teacher, 1.1))
            a, nu = a + 1e-7, parametrisation.coordinate(w)
            first = lg.mode_loss(lg.Mode(a, b, w), teacher)
            for _ in range(600):
                w = float(parametrisation.pole(nu))
                update = lg.mode_update(rule, lg.Mode(a, b, w), teacher, poles=poles)
                a, b = a - factor * limit * update.a, b - factor * limit * update.b
                nu = nu - factor * limit * update.w / parametrisation.slope(w)
                last = lg.mode_loss(lg.Mode(a, b, float(parametrisation.pole(nu))), teacher)
                if last > 1e6 * first:
                    break
            assert (last < first) == comes_back

    def test_fixed_points_are_the_same_within_the_range(self):
        manifolds = lg.fixed_points(lg.BPTT(), lg.Mode(1.0, 1.0, 0.5), poles="lru")
        assert [m.name for m in manifolds] == ["optimal", "silent"]
        assert manifolds[1].domain == (0, 1)
        assert np.all(np.array(lg.mode_update(lg.BPTT(), manifolds[1].at(0.3), manifolds[1].teacher, poles="lru")) == 0)
        with pytest.raises(ValueError, match=r"teacher w = -0.5 must lie strictly between 0 and 1"):
            lg.fixed_points(lg.BPTT(), lg.Mode(1.0, 1.0, -0.5), poles="lru")

    def test_slowest_point_and_crossings_take_poles(self):
        teacher = lg.Mode(2.0, 2.0, 0.5)
        found = lg.slowest_point(lg.BPTT(), teacher, poles="tanh")
        np.testing.assert_allclose(found.rate, lg.convergence_rate(lg.BPTT(), teacher, found.s, poles="tanh"))
        rule, other = lg.RFLO(1.0, 0.5), lg.BPTT()
        [crossing] = lg.rate_crossings(rule, other, lg.Mode(1.0, 1.0, 0.8), 0.1, 10.0, poles="tanh")
        rates = [lg.convergence_rate(x, lg.Mode(1.0, 1.0, 0.8), crossing, poles="tanh") for x in (rule, other)]
        np.testing.assert_allclose(*rates, rtol=1e-10)


class TestTrajectories:
    """Teacher (1, 1, 0.8), start (1, 1, 0.6): RFLO with `â = −1` diverges with direct poles at `ŵ = 0.9`."""

    @every_pole
    def test_bounded_poles_converge_where_direct_ones_diverge(self, poles):
        rule, start, teacher = lg.RFLO(-1.0, 0.9), lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8)
        assert lg.learn_mode(rule, start, teacher, duration=100.0).outcome is Outcome.DIVERGED
        run = lg.learn_mode(rule, start, teacher, duration=100.0, poles=poles)
        assert (run.outcome, run.branch, run.settings["poles"]) == (Outcome.CONVERGED, -1, poles)

    def test_creeping_to_the_edge_is_unfinished(self):
        """LRU poles with a negative decay: `w → 0` for ever, which is not the end of anything."""
        run = lg.learn_mode(
            lg.RFLO(-1.0, -0.5), lg.Mode(1.0, 1.0, 0.6), lg.Mode(1.0, 1.0, 0.8), duration=1e3, poles="lru"
        )
        assert run.outcome is Outcome.UNFINISHED
        assert run.final.w < 1e-3


class TestDerivation:
    @every_pole
    def test_is_what_is_computed(self, poles):
        rule = lg.RFLO(-0.7, 0.4)
        found = derive(rule, poles=poles)
        student, teacher = lg.Mode(0.9, 0.4, 0.3), lg.Mode(0.7, -1.2, 0.6)
        values = dict(zip((*STUDENT, *TEACHER), (*student, *teacher), strict=True))
        update = [float(x.subs(values)) for x in found.update]
        np.testing.assert_allclose(update, lg.mode_update(rule, student, teacher, poles=poles), rtol=1e-12)
        J = np.array(found.jacobian.subs(values), dtype=float)
        np.testing.assert_allclose(J, lg.mode_jacobian(rule, student, teacher, poles=poles), rtol=1e-12)
        there = {TEACHER.w: teacher.w, C: teacher.a * teacher.b, S: 0.8}
        eigenvalues = [complex(x.subs(there)) for x in found.optimal.eigenvalues]
        np.testing.assert_allclose(eigenvalues, lg.spectrum(rule, teacher, 0.8, poles=poles), rtol=1e-12)

    @every_pole
    @pytest.mark.parametrize("name", ["rflo", "bptt"])
    def test_the_second_invariant_is_the_direct_one_times_rho(self, name, poles):
        rule = symbolic_rule(name)
        ratio = derive(rule, poles=poles).optimal.second_invariant / derive(rule).optimal.second_invariant
        assert sympy.simplify(ratio - find_poles(poles).speed(TEACHER.w)) == 0

    def test_is_written_with_what_is_trained(self):
        found = derive(symbolic_rule("rflo"), poles="lru")
        text = found.text()
        assert text.startswith("RFLO, all lags, lru poles w = exp(−exp ν); c = a* b*")
        assert "  ρ = w² (ln w)²\n" in text
        assert "  ρ Δw = a â b² w³ (ln w)²/((1 − w²) (1 − w ŵ)) − " in text
        assert r"\rho &= w^{2} \ln{\left(w \right)}^{2}" in found.latex()
        assert found.to_dict()["poles"] == "lru"
        assert sympy.sympify(found.to_dict()["update"]["w"]).has(sympy.log)


class TestEnsemble:
    @pytest.mark.slow
    @pytest.mark.parametrize("poles", ["tanh", "lru"])
    def test_ends_where_single_trajectories_end(self, poles):
        rng = np.random.default_rng(0)
        start = lg.Mode(*rng.normal(0, 1.5, (2, 12)), rng.uniform(0.05, 0.9, 12))
        teacher, rule = lg.Mode(1.0, 1.0, rng.uniform(0.1, 0.9, 12)), lg.RFLO(-1.0, 0.5)
        run = lg.integrate_modes(rule, start, teacher, duration=300.0, rtol=1e-9, atol=1e-11, poles=poles)
        assert run.settings["poles"] == poles
        for k in range(12):
            one = lg.Mode(*(float(x[k]) for x in start)), lg.Mode(1.0, 1.0, float(teacher.w[k]))
            path = lg.learn_mode(rule, *one, duration=300.0, rtol=1e-10, poles=poles)
            assert (Outcome(run.outcome[k]), run.branch[k]) == (path.outcome, path.branch)
            if path.outcome is Outcome.CONVERGED:
                np.testing.assert_allclose([x[k] for x in run.final], path.final, atol=3e-5)
                np.testing.assert_allclose(run.path_length[k], path.path_length[-1], rtol=1e-3)

    def test_nothing_diverges_even_from_the_edge(self):
        rng = np.random.default_rng(1)
        start = lg.Mode(*rng.uniform(-5, 5, (2, 2000)), 1 - 10 ** rng.uniform(-6, 0, 2000))
        run = lg.integrate_modes(lg.RFLO(-1.0, 0.5), start, lg.Mode(1.0, 1.0, 0.8), duration=1000.0, poles="tanh")
        assert set(Outcome.counts(run.outcome)) <= {"converged", "unfinished"}
        assert (run.outcome == Outcome.CONVERGED).all()
        assert run.steps.max() < 2000  # fast directions next to slow growth do not shorten the steps

    def test_creeping_to_the_edge_is_given_up_in_time(self):
        """e-prop with random feedback: `1 − w²` falls exponentially, until double precision follows it no longer."""
        rule, start, teacher = lg.EProp(1.21), lg.Mode(-1.77, -1.36, -0.57), lg.Mode(0.93, 1.0, 0.84)
        run = lg.integrate_modes(rule, start, teacher, duration=1e6, poles="tanh")
        path = lg.learn_mode(rule, start, teacher, duration=1e6, poles="tanh")
        assert Outcome(int(run.outcome)) is path.outcome is Outcome.UNFINISHED
        for end in (run.final.w, path.final.w):
            assert 1 - abs(end) < ROUNDING_GAP
        np.testing.assert_allclose(run.time, path.time[-1], rtol=0.1)
        assert run.steps < 1000

    def test_starts_and_teachers_that_no_pole_has_are_refused(self):
        rule, good, bad = lg.RFLO(1.0, 0.5), lg.Mode(1.0, 1.0, 0.5), lg.Mode(1.0, 1.0, [0.3, -0.2])
        with pytest.raises(ValueError, match=r"initial w = -0.2 must lie strictly between 0 and 1 with lru poles"):
            lg.integrate_modes(rule, bad, good, duration=1.0, poles="lru")
        with pytest.raises(ValueError, match=r"teacher w = -0.2 must lie strictly between 0 and 1 with lru poles"):
            lg.integrate_modes(rule, good, bad, duration=1.0, poles="lru")
        with pytest.raises(ValueError, match=r"axis w = 0 must lie"):
            lg.basins(rule, good, a=[0.0, 1.0], b=1.0, w=0.0, poles="lru")

    def test_maps_and_boundaries_take_poles(self):
        rule, teacher = lg.RFLO(-1.0, 0.9), lg.Mode(1.0, 1.0, 0.8)
        found = lg.basins(rule, teacher, a=[-1.0, 1.0], b=1.0, w=0.6, poles="tanh")
        assert found.attrs["poles"] == "tanh"
        assert Outcome.counts(found.outcome) == {"converged": 2}
        assert Outcome.counts(lg.basins(rule, teacher, a=[-1.0, 1.0], b=1.0, w=0.6).outcome)["diverged"] == 1
        box = {"low": lg.Mode(1.0, 1.0, 0.5), "high": lg.Mode(1.5, 1.5, 0.6)}
        sampled = lg.sample_basins(rule, teacher, num_starts=20, **box, poles="tanh")
        assert Outcome.counts(sampled.outcome) == {"converged": 20}
        line = lg.boundary(
            lg.BPTT(), lg.Mode(-1.0, 0.5, 0.0), lg.Mode(1.0, 0.5, 0.0), lg.Mode(1.0, 1.0, 0.0), poles="tanh"
        )
        np.testing.assert_allclose(line.points.a, [-0.5], atol=1e-6)
        assert line.settings["poles"] == "tanh"


def test_the_kernels_logarithm():
    """To two units in the last place, over the numbers that a pole can be; NaN where there is none."""
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(0, 1, 1000), 10 ** rng.uniform(-300, 0, 1000), 1 - 10 ** rng.uniform(-15, -1, 1000)]
    )
    values = np.array([_log(y) for y in x])
    np.testing.assert_allclose(values, np.log(x), rtol=6e-16, atol=0)
    assert np.isnan([_log(y) for y in (0.0, -0.5, float("nan"), 1e-310)]).all()
