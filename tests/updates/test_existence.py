"""Whether an update exists: the same answer from both algorithms, at any scale of the weights, and in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEEDBACK, STUDENT, TEACHER, network
from scipy.stats import ortho_group

import localgrad as lg
from localgrad.tasks.linear_task import as_task
from localgrad.updates.existence import check_update, estimated_reach
from localgrad.updates.horizon import MOST_STEPS, Horizon

RULES = {"bptt": lg.BPTT(), "tbptt": lg.TruncatedBPTT(2), "rflo": lg.RFLO(FEEDBACK, 0.3)}
rules = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def of_radius(net, radius, dtype=float):
    A, W, B = net
    W = W * (radius / np.abs(np.linalg.eigvals(W)).max())
    return lg.LinearRNN(*(np.asarray(x, dtype) for x in (A, W, B)))


# --- radii beyond 1 --------------------------------------------------------------------------------------------------


@rules
@pytest.mark.parametrize("who", ["student", "teacher"])
@pytest.mark.parametrize("method", ["doubling", "lags"])
def test_no_radius_is_too_large_to_be_noticed(method, who, rule):
    for radius in (25.0, 1e9, 1e20, 1e30, 1e200):
        pair = {"student": of_radius(STUDENT, 0.5), "task": of_radius(TEACHER, 0.5)}
        pair[{"teacher": "task"}.get(who, who)] = of_radius({"student": STUDENT, "teacher": TEACHER}[who], radius)
        with pytest.raises(ValueError, match=rf"the {who}'s W has spectral radius .*, but an infinite horizon"):
            lg.expected_update(rule, **pair, method=method)


@rules
@pytest.mark.parametrize("method", ["doubling", "lags"])
def test_what_the_readout_does_not_see_counts_too(method, rule):
    """An unstable unit that is neither driven nor read out, and a student without readout."""
    hidden = lg.LinearRNN([[1.0, 0.0]] * 2, np.diag([0.5, 1.5]), [[1.0] * 3, [0.0] * 3])
    silent = lg.LinearRNN(np.zeros((2, 2)), 1.5 * np.eye(2), np.ones((2, 3)))
    rule = lg.RFLO(np.ones((2, 2)), 0.3) if rule is RULES["rflo"] else rule
    for student in (hidden, silent):
        with pytest.raises(ValueError, match=r"the student's W has spectral radius 1\.5"):
            lg.expected_update(rule, student, network(TEACHER), method=method)


def test_within_rounding_of_the_circle():
    teacher = of_radius(TEACHER, 0.5)
    for seed in range(20):
        W = ortho_group.rvs(2, random_state=seed)
        student = lg.LinearRNN(np.ones((2, 2)), W, np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"the student's W has spectral radius 1.* needs it below 1"):
            lg.expected_loss(student, teacher)
        with pytest.raises(ValueError, match="the student's W has spectral radius 1"):
            check_update(lg.BPTT(), student, teacher, Horizon())
        assert np.isposinf(jax.jit(lg.expected_loss)(student, teacher))


@pytest.mark.parametrize("gap", [1e-6, 1e-9, 1e-12])
def test_near_the_circle_but_within_it(gap):
    """One unit: the loss is `½ Σ (w^j − w*^j)²`, whose first part is `1/(1 − w²)`."""
    w = 1 - gap
    loss = lg.expected_loss(lg.LinearRNN([[1.0]], [[w]], [[1.0]]), lg.LinearRNN([[1.0]], [[0.5]], [[1.0]]))
    exact = (1 / ((1 - w) * (1 + w)) - 2 / (1 - 0.5 * w) + 4 / 3) / 2
    np.testing.assert_allclose(loss, exact, rtol=100 * np.finfo(float).eps / gap)


def test_a_loss_is_not_called_an_update():
    unstable = of_radius(STUDENT, 1e200)
    with pytest.raises(ValueError, match="the loss overflows at horizon 50"):
        lg.expected_loss(unstable, network(TEACHER), horizon=50)
    with pytest.raises(ValueError, match="the update overflows at horizon 50"):
        lg.expected_update(lg.BPTT(), unstable, network(TEACHER), horizon=50)


# --- scales ----------------------------------------------------------------------------------------------------------


@rules
@pytest.mark.parametrize("method", ["doubling", "lags"])
@pytest.mark.parametrize("readout", [2.0**-66, 2.0**60])
@pytest.mark.parametrize("inputs", [1.0, 2.0**-40])
def test_scales_of_readout_and_inputs_come_out(inputs, readout, method, rule):
    """`ΔA` goes as readout × input²; powers of 2 change no digit."""

    def scaled(a, b):
        return [lg.LinearRNN(a * net.A, net.W, b * net.B) for net in (of_radius(STUDENT, 0.6), of_radius(TEACHER, 0.6))]

    plain, found = (lg.expected_update(rule, *pair, method=method) for pair in (scaled(1, 1), scaled(readout, inputs)))
    credit = 1.0 if rule is RULES["rflo"] else readout
    np.testing.assert_array_equal(found.A, plain.A * readout * inputs**2)
    np.testing.assert_array_equal(found.W, plain.W * readout * credit * inputs**2)
    np.testing.assert_array_equal(found.B, plain.B * readout * credit * inputs)


@pytest.mark.parametrize("method", ["doubling", "lags"])
def test_small_readouts_in_float32(method):
    def pair(readout):
        nets = of_radius(STUDENT, 0.5, np.float32), of_radius(TEACHER, 0.5, np.float32)
        return [lg.LinearRNN(np.float32(readout) * net.A, net.W, net.B) for net in nets]

    plain, small = (lg.expected_update(lg.BPTT(), *pair(readout), method=method).A for readout in (1, 1e-20))
    np.testing.assert_allclose(small, np.float32(1e-20) * plain, rtol=1e-5)


@pytest.mark.parametrize("decay", [25.0, 1e9])
def test_large_decays_with_few_lags(decay):
    rule = lg.Rule(np.asarray(FEEDBACK, np.float32), decay, 2)
    student, teacher = of_radius(STUDENT, 0.5, np.float32), of_radius(TEACHER, 0.5, np.float32)
    one, other = (lg.expected_update(rule, student, teacher, method=method) for method in ("doubling", "lags"))
    assert float(jnp.abs(one.W).max()) > 0
    for x, y in zip(one.matrices, other.matrices, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5 * float(jnp.abs(x).max()))


@pytest.mark.parametrize("reach", [0.99, 0.999, 0.9999])
def test_credit_that_grows_as_states_vanish(reach):
    """`M^j` leaves the range of numbers long before `(ρ(M) ρ(W))^j` has vanished; one unit has a closed form."""
    w, m = 0.1, reach / 0.1
    student, teacher = lg.LinearRNN([[1.0]], [[w]], [[1.0]]), lg.LinearRNN([[0.0]], [[0.0]], [[1.0]])
    update = lg.expected_update(lg.RFLO([[1.0]], m), student, teacher)
    # Errors are w^k: ΔB = Σ m^j w^j, and ΔW = Σ_ij m^j w^(i+j+1) w^i.
    np.testing.assert_allclose(update.B, 1 / (1 - m * w), rtol=1e-10)
    np.testing.assert_allclose(update.W, w / ((1 - m * w) * (1 - w**2)), rtol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 1e-200, 1e-300])
def test_tiny_recurrence_and_huge_decay(scale):
    """Squares of `w` are no numbers, but `m w = 0.5` is."""
    student, teacher = lg.LinearRNN([[1.0]], [[0.5 * scale]], [[1.0]]), lg.LinearRNN([[0.0]], [[0.0]], [[1.0]])
    update = lg.expected_update(lg.RFLO([[1.0]], 1 / scale), student, teacher, method="doubling")
    np.testing.assert_allclose(update.B, 2.0, rtol=1e-12)


def test_the_estimate_without_eigenvalues():
    student, teacher = of_radius(STUDENT, 0.8), of_radius(TEACHER, 0.6)
    for rule, expected in ((lg.BPTT(), 0.8), (lg.TruncatedBPTT(2), 0.8), (lg.RFLO(FEEDBACK, 1.2), 0.96)):
        np.testing.assert_allclose(estimated_reach(rule, student, as_task(teacher), 0.6), expected, rtol=1e-4)
        check_update(rule, student, teacher, Horizon())


# --- horizons --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("horizon", [10**12, 2**63, MOST_STEPS + 1])
def test_horizons_without_bound(horizon):
    with pytest.raises(ValueError, match=f"a horizon of {horizon} steps is more than .*leave it out for the limit"):
        lg.expected_update(lg.BPTT(), network(STUDENT), network(TEACHER), horizon=horizon)


def test_horizons_beyond_memory():
    with pytest.raises(ValueError, match=r"needs more memory than there is.*give at most [0-9]+ steps"):
        lg.expected_update(lg.BPTT(), *(of_radius((np.ones((99, 9)), np.eye(9), np.ones((9, 9))), 0.5),) * 2,
                           horizon=MOST_STEPS)  # fmt: skip


def test_weights_of_lags():
    np.testing.assert_array_equal(Horizon(3).weights(5), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(Horizon(4, "sequence").weights(5), [1, 0.75, 0.5, 0.25, 0])
    np.testing.assert_array_equal(Horizon().weights(2), [1, 1])
    assert Horizon.of(np.int64(3), "sequence") == Horizon(3, "sequence")
    assert Horizon.of(None, "sequence") == Horizon()  # the two losses agree in the limit


# --- promotion -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("x64", [True, False])
@rules
def test_strict_promotion(rule, x64):
    dtype = np.float64 if x64 else np.float32
    pair = of_radius(STUDENT, 0.5, dtype), of_radius(TEACHER, 0.5, dtype)
    rule = jax.tree.map(lambda x: np.asarray(x, dtype) if np.ndim(x) else x, rule)
    with jax.enable_x64(x64), jax.numpy_dtype_promotion("strict"):
        for settings in ({"method": "doubling"}, {"method": "lags"}, {"horizon": 5, "loss": "sequence"}):
            assert np.all(np.isfinite(lg.expected_update(rule, *pair, **settings).W))
        for horizon in (None, 5):
            assert np.isfinite(lg.expected_loss(*pair, horizon=horizon))
