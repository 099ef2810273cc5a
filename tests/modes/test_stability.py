"""Spectra on the optimal manifold: the theory's closed forms, NumPy's eigenvalues and finite differences agree."""

import mpmath
import numpy as np
import pytest

import localgrad as lg
from localgrad.modes.equations import field
from localgrad.modes.stability import (
    convergence_rate,
    critical_learning_rate,
    optimal_mode,
    rate_crossings,
    spectrum,
    spectrum_at,
)

BPTT, TBPTT = lg.BPTT(), lg.TruncatedBPTT(1)
RULES = {
    "bptt": BPTT,
    "tbptt-1": TBPTT,
    "tbptt-4": lg.TruncatedBPTT(4),
    "rflo": lg.RFLO(1.3, 0.5),
    "rflo-wrong-sign": lg.RFLO(-0.8, -0.6),
    "eprop-random": lg.EProp(0.7),
    "three-factor": lg.ThreeFactor(1.1),
    "blend": lg.Rule(lg.Feedback.blend(0.4, -0.9), lg.Propagator.blend(0.3, 0.6)),
}
every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def random_points(count=200, seed=0):
    """`c`, `s`, `w*`: both signs, a decade about 1."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1, 1], (2, count))
    c, s = signs * np.exp(rng.uniform(np.log(0.3), np.log(3), (2, count)))
    return c, s, rng.uniform(-0.9, 0.9, count)


def teacher_of(c, w):
    """A teacher with gain `c` whose two factors are not simple."""
    return lg.Mode(c / 1.7, 1.7 * np.ones_like(c), w)


# --- three ways to the same spectrum ---------------------------------------------------------------------------------


@every_rule
def test_spectrum_is_numpys(rule):
    c, s, w = random_points()
    teacher = teacher_of(c, w)
    J = lg.mode_jacobian(rule, optimal_mode(teacher, s), teacher)
    expected = np.linalg.eigvals(J)
    found = spectrum(rule, teacher, s)
    # Eigenvalues close to each other lose half the digits, and NumPy's zero is rounding of the largest.
    scale = np.abs(expected).max(axis=-1)
    for row, other, size in zip(found, expected, scale, strict=True):
        nearest = np.abs(row[:, None] - other[None, :])
        assert nearest.min(axis=0).max() < 1e-7 * size
        assert nearest.min(axis=1).max() < 1e-7 * size
    assert np.all(found[:, 0] == 0)
    assert np.all(found[:, 1].real >= found[:, 2].real - 1e-12 * scale)


@every_rule
def test_jacobian_is_the_flows_finite_difference(rule):
    c, s, w = random_points(50, seed=1)
    teacher = teacher_of(c, w)
    rest = np.stack(optimal_mode(teacher, s))
    step = 1e-6  # central differences: truncation and rounding both about 1e-9 of the field's derivatives
    columns = []
    for axis in range(3):
        shift = step * np.eye(3)[axis][:, None]
        plus, minus = (np.stack(field(rule, lg.Mode(*x), teacher)) for x in (rest + shift, rest - shift))
        columns.append(-(plus - minus) / (2 * step))
    J = np.moveaxis(np.stack(columns, axis=1), 2, 0)
    values = np.linalg.eigvals(J)
    scale = np.abs(values).max(axis=-1)
    found = spectrum(rule, teacher, s)
    # Sum and sum of squares say which eigenvalues they are, without sorting complex pairs.
    np.testing.assert_allclose(found.sum(axis=1) / scale, values.sum(axis=1) / scale, atol=1e-6)
    np.testing.assert_allclose((found**2).sum(axis=1) / scale**2, (values**2).sum(axis=1) / scale**2, atol=1e-6)


@every_rule
def test_the_zero_eigenvalue_points_along_the_manifold(rule):
    c, s, w = random_points(50, seed=2)
    teacher = teacher_of(c, w)
    J = lg.mode_jacobian(rule, optimal_mode(teacher, s), teacher)
    tangent = np.stack([np.ones_like(s), -c / s**2, 0 * s], axis=-1)
    along = np.einsum("kij,kj->ki", J, tangent)
    size = np.abs(J).max(axis=(1, 2)) * np.abs(tangent).max(axis=1)
    assert np.abs(along / size[:, None]).max() < 1e-12  # a sum of three rounded products


def test_bptt_closed_form():
    c, s, w = random_points()
    q = 1 - w**2
    first, second = (s**2 + c**2 / s**2) / q, c**2 * (1 + w**2) / q**3
    root = np.sqrt((first - second) ** 2 + 4 * (s**2 + c**2 / s**2) * c**2 * w**2 / q**4)
    found = spectrum(BPTT, teacher_of(c, w), s)
    assert np.all(found.imag == 0)
    np.testing.assert_allclose(found[:, 2].real, -(first + second + root) / 2, rtol=1e-11)
    # The small one is a difference of the two large ones here; the spectrum's own way has no cancellation.
    np.testing.assert_allclose(found[:, 1].real, -(first + second - root) / 2, rtol=1e-8)
    assert np.all(found[:, 1].real < 0)


def test_tbptt_closed_form():
    # f = a, one lag: g_0 = (b, a, 0), g_1 = (b w, a w, ab); written out from theory, section 7, with j = 0 alone.
    c, s, w = random_points()
    q, b = 1 - w**2, c / s
    trace = -(b**2 / q + s**2 + c**2 / q**2)  # Σ_i w^i (i+1) w^i = 1/q²
    np.testing.assert_allclose(spectrum(TBPTT, teacher_of(c, w), s).sum(axis=1), trace, rtol=1e-11)


@pytest.mark.parametrize(("feedback", "decay"), [(1.0, 0.5), (-0.7, -0.3), (2.5, 0.9)])
def test_rflo_trace_and_product(feedback, decay):
    c, s, w = random_points()
    q, d = 1 - w**2, 1 - decay * w
    trace = -((c**2 / s**2) / q + (feedback / s) * (s**2 / d + c**2 * (1 - decay * w**3) / (d**2 * q**2)))
    product = feedback * c**2 * (feedback * s**3 + c**2) / (s**3 * q**2 * d**2)
    found = spectrum(lg.RFLO(feedback, decay), teacher_of(c, w), s)
    size = np.abs(found).max(axis=1)
    assert np.abs((found.sum(axis=1) - trace) / size).max() < 1e-11
    assert np.abs((found[:, 1] * found[:, 2] - product) / size**2).max() < 1e-11


# --- RFLO: borders ---------------------------------------------------------------------------------------------------


def rflo_samples(count=2000, seed=3):
    rng = np.random.default_rng(seed)
    c, s, feedback = np.exp(rng.uniform(np.log(0.1), np.log(10), (3, count))) * rng.choice([-1, 1], (3, count))
    return c, s, feedback, rng.uniform(-0.9, 0.9, count), rng.uniform(-0.9, 0.9, count)


def test_rflo_is_a_saddle_exactly_below_the_border():
    c, _, feedback, w, decay = rflo_samples()
    border = np.cbrt(c**2 / np.abs(feedback))
    for factor, saddle in ((1 - 1e-6, True), (1 + 1e-6, False)):
        s = -np.sign(feedback) * border * factor  # the side with âs < 0
        values = spectrum(lg.RFLO(feedback, decay), lg.Mode(c, 1.0, w), s)
        np.testing.assert_array_equal((values[:, 1].real > 0) & (values[:, 2].real < 0), saddle)


def test_rflo_with_the_right_sign_is_stable():
    c, s, feedback, w, decay = rflo_samples()
    s = np.abs(s) * np.sign(feedback)
    assert np.all(convergence_rate(lg.RFLO(feedback, decay), lg.Mode(c, 1.0, w), s) > 0)


def test_rflo_stable_window():
    c, s, feedback, w, decay = rflo_samples(20_000, seed=4)
    rule, teacher = lg.RFLO(feedback, decay), lg.Mode(c, 1.0, w)
    opens = np.abs(feedback * c) ** (2 / 3) < (1 - w**2) * (1 - decay * w) * (w**2 - decay * w) / (1 - decay * w**3)
    border = np.cbrt(c**2 / np.abs(feedback))
    just_beyond = convergence_rate(rule, teacher, -np.sign(feedback) * border * (1 + 1e-9)) > 0
    np.testing.assert_array_equal(just_beyond, opens)
    anywhere = convergence_rate(rule, teacher, -np.sign(feedback) * np.abs(s)) > 0
    assert anywhere.sum() > 20
    assert np.all(opens[anywhere] & (np.abs(s) > border)[anywhere])


def test_rate_for_small_s():
    s, w, feedback, decay, c = 1e-5, np.array([-0.7, 0.2, 0.8]), -1.4, 0.5, 0.6
    rate = convergence_rate(lg.RFLO(feedback, decay), lg.Mode(c, 1.0, w), -s)  # âs > 0
    law = abs(feedback) * c**2 / (s * (1 - w**2) * (1 - decay * w) ** 2)
    np.testing.assert_allclose(rate, law, rtol=1e-3)  # the next term is of relative order s
    bptt = convergence_rate(BPTT, lg.Mode(c, 1.0, w), np.array([1e-2, 1e-3, 1e-4])[:, None])
    np.testing.assert_allclose(bptt[0], bptt[-1], rtol=1e-2)  # bounded


def test_rflo_is_bptt_where_feedback_and_decay_are_the_students():
    teacher = lg.Mode(1.2, 0.8, 0.6)
    np.testing.assert_allclose(spectrum(lg.RFLO(0.9, 0.6), teacher, 0.9), spectrum(BPTT, teacher, 0.9), rtol=1e-13)
    assert abs(convergence_rate(lg.RFLO(0.9, 0.5), teacher, 0.9) - convergence_rate(BPTT, teacher, 0.9)) > 1e-2


# --- the non-optimal line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lags", [1, 2, 5, None])
def test_silent_line_is_a_saddle(lags):
    rule = lg.Rule("symmetric", lg.Propagator.blend(0.3, 0.5), lags)  # any propagator
    w, c, w_star = np.linspace(-0.9, 0.9, 7), -0.8, 0.7
    m = 0.7 * w + 0.15
    powers = range(2000 if lags is None else lags)  # 0.9^2000 is nothing
    expected = abs(c) * np.sqrt(sum((m * w_star) ** j for j in powers) / (1 - w * w_star))
    values = spectrum_at(rule, lg.Mode(0 * w, 0 * w, w), lg.Mode(c, 1.0, w_star))
    np.testing.assert_allclose(values.real, np.stack([expected, 0 * w, -expected], axis=-1), atol=1e-12)


# --- rates and steps -------------------------------------------------------------------------------------------------


@every_rule
def test_critical_learning_rate_by_taking_steps(rule):
    s = 0.9 * (np.sign(float(rule.feedback(0.0))) or 1.0)
    teacher = lg.Mode(0.8, 1.0, 0.5)
    limit = float(critical_learning_rate(rule, teacher, s))
    assert limit > 0
    rest = np.array(optimal_mode(teacher, s), dtype=float)
    offset = 1e-7 * np.array([0.3, 1.0, -0.7])  # small: the linear regime lasts for 100 steps of growth 1.04
    sizes = {}
    for factor in (0.98, 1.02):
        x, path = rest + offset, []
        for _ in range(150):
            x = x - factor * limit * np.array(field(rule, lg.Mode(*x), teacher))
            path.append(np.hypot(x[0] * x[1] - 0.8, x[2] - 0.5))  # off the manifold
        sizes[factor] = path[149] / path[49]
    assert sizes[0.98] < 1 < sizes[1.02]


def test_critical_learning_rate_is_zero_where_unstable():
    rule = lg.RFLO(-1.0, 0.5)
    teacher = lg.Mode(1.0, 1.0, 0.8)
    assert convergence_rate(rule, teacher, 0.5) < 0
    assert critical_learning_rate(rule, teacher, 0.5) == 0


def test_rate_crossings_against_a_dense_grid():
    rule, teacher = lg.RFLO(1.0, 0.2), lg.Mode(1.0, 1.0, 0.5)
    [crossing] = rate_crossings(rule, BPTT, teacher, 0.01, 5.0)
    s = np.geomspace(0.01, 5.0, 100_001)
    faster = convergence_rate(rule, teacher, s) > convergence_rate(BPTT, teacher, s)
    [last] = np.flatnonzero(np.diff(faster))
    assert s[last] <= crossing <= s[last + 1]
    mirrored = rate_crossings(lg.RFLO(-1.0, 0.2), BPTT, teacher, -0.01, -5.0)
    np.testing.assert_allclose(mirrored, [-crossing], rtol=1e-12)
    assert len(rate_crossings(rule, BPTT, teacher, 1.5 * crossing, 5.0)) == 0


def test_rate_crossings_with_several():
    one, other, teacher = lg.RFLO(1.8, -0.8), lg.RFLO(1.7, -0.2), lg.Mode(1.0, 1.0, 0.6)
    found = rate_crossings(one, other, teacher, 0.05, 20.0)
    s = np.geomspace(0.05, 20.0, 50_001)
    changes = np.flatnonzero(np.diff(convergence_rate(one, teacher, s) > convergence_rate(other, teacher, s)))
    assert len(found) == len(changes) == 4
    assert all(s[i] <= x <= s[i + 1] for i, x in zip(changes, found, strict=True))


def test_everything_broadcasts():
    rule = lg.RFLO(np.array([0.5, 1.0])[:, None, None], 0.5)
    teacher = lg.Mode(1.0, np.array([1.0, -2.0, 0.5])[:, None], 0.3)
    s = np.array([-1.0, 0.5, 1.0, 2.0])
    values = spectrum(rule, teacher, s)
    assert values.shape == (2, 3, 4, 3)
    one = spectrum(lg.RFLO(1.0, 0.5), lg.Mode(1.0, -2.0, 0.3), 2.0)
    np.testing.assert_allclose(values[1, 1, 3], one, rtol=1e-14)
    assert convergence_rate(rule, teacher, s).shape == critical_learning_rate(rule, teacher, s).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("teacher", "s", "words"),
    [
        (lg.Mode(1.0, 1.0, 0.5), 0.0, r"s = 0: .* give a non-zero s"),
        (lg.Mode(1.0, 1.0, 0.5), np.array([1.0, 0.0]), r"s = 0"),
        (lg.Mode(0.0, 1.0, 0.5), 1.0, r"teacher a\* b\* = 0: .*give a\* and b\*"),
        (lg.Mode(0.0, 1.0, 0.5), 0.0, r"teacher a\* b\* = 0"),
        (lg.Mode(1e200, 1e200, 0.5), 1.0, r"teacher a\* b\* = inf: it is not finite; give smaller"),
        (lg.Mode(1.0, 1.0, 1.0), 1.0, r"w = 1 must lie strictly between"),
        (lg.Mode(1.0, 1.0, 0.5), np.nan, r"not finite"),
    ],
)
def test_what_has_no_spectrum_is_refused(teacher, s, words):
    for function in (spectrum, convergence_rate, critical_learning_rate):
        with pytest.raises(ValueError, match=words):
            function(BPTT, teacher, s)


@pytest.mark.parametrize("ends", [(-1.0, 1.0), (0.0, 1.0), (1.0, 0.0), (np.nan, 1.0), (1.0, np.inf), (1e-200, -1e-200)])
def test_crossings_need_ends_of_one_sign(ends):
    with pytest.raises(ValueError, match="must be finite, non-zero and of one sign"):
        rate_crossings(BPTT, TBPTT, lg.Mode(1.0, 1.0, 0.5), *ends)


def test_of_a_complex_pair_the_first_has_positive_imaginary_part():
    values = spectrum(lg.RFLO(-1.0, -0.5), lg.Mode(1.0, 1.0, 0.8), np.linspace(1.5, 4, 40))
    turning = values[..., 1].imag != 0
    assert turning.any()
    assert (values[turning, 1].imag > 0).all()
    np.testing.assert_allclose(values[turning, 2], values[turning, 1].conj(), rtol=1e-9)


# --- at every size ----------------------------------------------------------------------------------------------------


def reference_eigenvalues(f, m, lags, c, w, s):
    """The two transverse eigenvalues in 400 digits: the theory's matrix (section 7) summed lag by lag, in `mpmath`."""
    with mpmath.workdps(400):
        a, w, m, f = mpmath.mpf(s), mpmath.mpf(w), mpmath.mpf(m), mpmath.mpf(f)
        b = mpmath.mpf(c) / a
        J = mpmath.zeros(3, 3)
        number = 14 if lags is None else lags  # with |w m| ≤ 0.06 and w² ≤ 0.04 what is left out is below 1e-17
        for j in range(14):
            g = (b * w**j, a * w**j, a * b * j * w ** (j - 1) if j else mpmath.mpf(0))
            for k in range(3):
                J[0, k] -= b * w**j * g[k]
                J[1, k] -= f * m**j * g[k] if j < number else 0
        for j in range(number):
            for i in range(14):
                n = i + j + 1
                g = (b * w**n, a * w**n, a * b * n * w ** (n - 1))
                for k in range(3):
                    J[2, k] -= f * b * m**j * w**i * g[k]
        trace = J[0, 0] + J[1, 1] + J[2, 2]
        minors = sum(J[i, i] * J[j, j] - J[i, j] * J[j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
        root = mpmath.sqrt(trace**2 / 4 - minors)
        values = sorted((trace / 2 + root, trace / 2 - root), key=lambda x: (mpmath.re(x), mpmath.im(x)), reverse=True)
        return [complex(x) for x in values]


@pytest.mark.parametrize("s", [1e-100, -1e-20, 3.0])
@pytest.mark.parametrize("c", [1e-60, -1.0, 1e40])
@pytest.mark.parametrize(
    ("rule", "f", "m", "lags"),
    [
        (lg.BPTT(), lambda a: a, lambda w: w, None),
        (lg.TruncatedBPTT(2), lambda a: a, lambda w: w, 2),
        (lg.RFLO(0.7, 0.3), lambda a: 0.7, lambda w: 0.3, None),
        (lg.RFLO(-1e9, 0.3), lambda a: -1e9, lambda w: 0.3, None),
    ],
    ids=["bptt", "tbptt-2", "rflo", "rflo-large"],
)
def test_eigenvalues_of_every_size(rule, f, m, lags, c, s):
    expected = reference_eigenvalues(f(s), m(0.2), lags, c, 0.2, s)
    teacher = lg.Mode(c, 1.0, 0.2)
    _, *found = spectrum(rule, teacher, s)
    for x, y in zip(found, expected, strict=True):
        assert abs(x - y) <= 1e-12 * abs(y)
    assert convergence_rate(rule, teacher, s) == pytest.approx(-expected[0].real, rel=1e-9)
    critical = min(-2 * x.real / abs(x) / abs(x) for x in expected) if all(x.real < 0 for x in expected) else 0.0
    assert critical_learning_rate(rule, teacher, s) == pytest.approx(critical, rel=1e-9)


def test_published_digits_at_a_tiny_readout():
    """c²/(1 − w*²)³ (…) → 64/27 as s → 0: the faster direction has no part in it."""
    assert convergence_rate(lg.BPTT(), lg.Mode(1.0, 1.0, 0.5), 1e-80) == pytest.approx(64 / 27, rel=1e-12)
    assert critical_learning_rate(lg.BPTT(), lg.Mode(1.0, 1.0, 0.5), 1e-80) == pytest.approx(1.5e-160, rel=1e-12)


@pytest.mark.parametrize(("c", "s"), [(1.0, 1e-160), (1e200, 1.0), (1e-300, 1e-150), (1.0, 1e-310)])
def test_what_leaves_double_precision_is_refused(c, s):
    for function in (spectrum, convergence_rate, critical_learning_rate):
        with pytest.raises(ValueError, match=r"leaves? double precision"):
            function(lg.RFLO(1e-200, 0.5) if s == 1e-150 else lg.BPTT(), lg.Mode(c, 1.0, 0.5), s)


def test_a_double_eigenvalue_is_real():
    """BPTT at w* = 0, c = 2, s = √2: both eigenvalues are −4, and rounding must not make them a complex pair."""
    values = spectrum(lg.BPTT(), lg.Mode(2.0, 1.0, 0.0), np.sqrt(2.0))
    np.testing.assert_array_equal(values.imag, 0)
    np.testing.assert_allclose(values.real, [0, -4, -4], rtol=1e-7)
