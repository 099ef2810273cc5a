"""What every rule must satisfy: each preset, blends, and random points of the rule space."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import (
    BY_ID,
    CASES,
    CREDIT_OF_PRESET,
    FEEDBACK,
    FEW_CASES,
    GAMMA,
    HIDDEN,
    HORIZON,
    INPUT,
    LAYER,
    OUTPUT,
    STUDENT,
    TASKS,
    TEACHER,
    TEACHER_HIDDEN,
    assert_close,
    distance,
    layer,
    matrices,
    network,
)
from oracles import task_update
from tiers import some

import localgrad as lg
from localgrad.rules.presets import PRESETS

# Sums of some hundred terms of order one, in float64, and one change of basis more than in test_expected.
ROUNDING = 1e-11


@pytest.fixture(params=CASES, ids=lambda case: case.id)
def case(request):
    return request.param


def update_of(rule, student=STUDENT, teacher=TEACHER, **settings):
    return matrices(lg.expected_update(rule, network(student), network(teacher), **settings))


def orthogonal(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def signed_permutation(size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.eye(size)[rng.permutation(size)] * rng.choice([-1.0, 1.0], size)


def change_basis(net, S: np.ndarray):
    """`(A S⁻¹, S W S⁻¹, S B)`: other hidden coordinates, the same input–output map."""
    A, W, B = net
    inverse = np.linalg.inv(S)
    return A @ inverse, S @ W @ inverse, S @ B


def test_every_preset_is_under_test():
    assert set(CREDIT_OF_PRESET) <= set(PRESETS) <= set(BY_ID)


def test_shapes_and_precision(case):
    for settings in ({}, {"horizon": HORIZON}, {"horizon": HORIZON, "loss": "sequence"}):
        update = lg.expected_update(case(), network(STUDENT), network(TEACHER), **settings)
        assert isinstance(update, lg.LinearRNN)
        assert update.sizes == (OUTPUT, HIDDEN, INPUT)
        for part in jax.tree.leaves(update):
            assert part.dtype == np.float64
            assert np.all(np.isfinite(part))


@pytest.mark.parametrize("few", FEW_CASES)
def test_jit_and_vmap_change_nothing(few):
    """A batch of students and feedbacks in one compiled call, against one call each."""
    students = [(A * s, W * s, B) for s, (A, W, B) in ((s, STUDENT) for s in (1.0, -0.5))]
    feedbacks = [FEEDBACK, -2 * FEEDBACK]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *map(network, students))
    one = lambda student, R: lg.expected_update(few.rule(R, GAMMA), student, network(TEACHER))  # noqa: E731
    updates = jax.jit(jax.vmap(one))(batch, jnp.stack(feedbacks))
    for k, (student, R) in enumerate(zip(students, feedbacks, strict=True)):
        assert_close(matrices(jax.tree.map(lambda x: x[k], updates)), update_of(few.rule(R, GAMMA), student), ROUNDING)  # noqa: B023


def test_nothing_to_learn_from_an_equal_teacher(case):
    """The teacher is the student in other coordinates, with one hidden unit more that reaches nothing."""
    A, W, B = STUDENT
    hidden_unit = np.zeros((TEACHER_HIDDEN, TEACHER_HIDDEN))
    hidden_unit[:HIDDEN, :HIDDEN], hidden_unit[-1, -1] = W, 0.3
    teacher = change_basis(
        (np.c_[A, np.zeros(OUTPUT)], hidden_unit, np.r_[B, np.zeros((1, INPUT))]), orthogonal(TEACHER_HIDDEN, 1)
    )
    for settings in ({}, {"horizon": HORIZON}):
        size = max(np.abs(x).max() for x in update_of(case(), **settings))
        for part in update_of(case(), STUDENT, teacher, **settings):
            assert np.abs(part).max() < ROUNDING * size


def test_the_readout_learns_alike_under_every_rule(case):
    for settings in ({}, {"horizon": HORIZON}, {"horizon": HORIZON, "loss": "sequence"}):
        assert_close(update_of(case(), **settings)[0], update_of(lg.BPTT(), **settings)[0], ROUNDING)


def test_finite_horizon_goes_to_infinite(case):
    """The slowest case decays as `(0.9 · 0.7)^j`, to 1e-12 at 60 lags; a hundred for sums and prefactors."""
    limit = update_of(case())
    assert_close(update_of(case(), horizon=60), limit, 1e-10)
    assert distance(update_of(case(), horizon=HORIZON), limit) > 1e-6


def test_sequence_update_is_the_mean_of_final_ones(case):
    finals = [update_of(case(), horizon=t) for t in (1, 2, 3)]
    mean = tuple(np.mean(parts, axis=0) for parts in zip(*finals, strict=True))
    assert_close(update_of(case(), horizon=3, loss="sequence"), mean, ROUNDING)


def test_the_teachers_coordinates_do_not_matter(case):
    rotation = orthogonal(TEACHER_HIDDEN, 2)
    stretch = rotation @ np.diag([0.5, 1, 1, 2, 3]) @ orthogonal(TEACHER_HIDDEN, 3)
    for S in (rotation, stretch):
        assert_close(update_of(case(), STUDENT, change_basis(TEACHER, S)), update_of(case()), ROUNDING)


def test_the_students_units_can_be_renamed(case):
    """With units permuted and signs flipped, feedback and decays along with them, so is the update."""
    S = signed_permutation(HIDDEN, 4)
    renamed = update_of(case.rule(FEEDBACK @ S.T, np.abs(S) @ GAMMA), change_basis(STUDENT, S))
    assert_close(renamed, change_basis(update_of(case()), S), ROUNDING)


def test_only_rules_with_preferred_axes_see_a_rotation(case):
    S = orthogonal(HIDDEN, 5)
    rotated = update_of(case.rule(FEEDBACK @ S.T, GAMMA), change_basis(STUDENT, S))
    expected = change_basis(update_of(case()), S)
    if case.uses_axes:
        with pytest.raises(AssertionError):
            assert_close(rotated, expected, 1e-3)
    else:
        assert_close(rotated, expected, ROUNDING)


def test_feedback_enters_linearly(case):
    """`ΔW` and `ΔB` are linear in `F`; so they are affine in the fixed feedback."""
    at = [update_of(case.rule(s * FEEDBACK, GAMMA))[1:] for s in (0.0, 1.0, 3.0)]
    straight = jax.tree.map(lambda zero, one: zero + 3 * (one - zero), at[0], at[1])
    assert_close(at[2], straight, ROUNDING)


@pytest.mark.parametrize("few", FEW_CASES)
def test_a_network_of_one_unit_is_a_mode(few):
    student, teacher = lg.Mode(0.8, -1.2, 0.5), lg.Mode(1.1, 0.7, -0.6)
    one_unit = [lg.LinearRNN(*(np.full((1, 1), x) for x in (mode.a, mode.w, mode.b))) for mode in (student, teacher)]
    update = lg.expected_update(few.rule(np.array([[-0.7]]), np.array([0.45])), *one_unit)
    mode = lg.mode_update(few.rule(-0.7, 0.45), student, teacher)
    assert_close([x.item() for x in (update.A, update.B, update.W)], list(mode), ROUNDING)


def test_aligned_networks_fall_apart_into_modes(case):
    """The update of an aligned network is aligned, and its modes' entries are the mode equations."""
    modes = 2
    student = lg.Mode(a=np.array([0.8, -0.6]), b=np.array([-1.2, 0.9]), w=np.array([0.5, -0.3]))
    teacher = lg.Mode(a=np.array([1.1, 1.4]), b=np.array([0.7, -0.5]), w=np.array([-0.6, 0.7]))
    feedback = np.array([-0.7, 0.4])
    U, V = orthogonal(OUTPUT, 6), orthogonal(INPUT, 7)
    P = signed_permutation(HIDDEN, 8) if case.uses_axes else orthogonal(HIDDEN, 9)
    frames = lg.Frames(U, P, V)
    decay_of_unit = np.abs(P) @ GAMMA if case.uses_axes else GAMMA
    if case().terms:
        with pytest.raises(ValueError, match="does not keep networks aligned"):
            lg.align_rule(case.rule(feedback, decay_of_unit), frames)
        return
    rule = lg.align_rule(case.rule(feedback, decay_of_unit), frames)
    teacher_network = lg.aligned_network(teacher, lg.Frames(U, orthogonal(TEACHER_HIDDEN, 10), V))
    update = lg.expected_update(rule, lg.aligned_network(student, frames), teacher_network)

    found = lg.project_modes(update, frames)
    expected = lg.mode_update(case.rule(feedback, GAMMA[:modes]), student, teacher)
    assert_close(list(found), list(expected), ROUNDING)
    assert_close(matrices(update), matrices(lg.aligned_network(found, frames)), ROUNDING)


def test_unaligned_axes_mix_the_modes_of_eprop():
    """In rotated frames `diag W` is not diagonal there: e-prop leaves alignment, BPTT does not."""
    frames = lg.Frames(orthogonal(OUTPUT, 6), orthogonal(HIDDEN, 9), orthogonal(INPUT, 7))
    student = lg.aligned_network(lg.Mode(np.array([0.8, -0.6]), np.array([-1.2, 0.9]), np.array([0.5, -0.3])), frames)
    teacher = lg.aligned_network(lg.Mode(np.array([1.1, 1.4]), np.array([0.7, -0.5]), np.array([-0.6, 0.7])), frames)
    update = lg.expected_update(lg.EProp(), student, teacher)
    with pytest.raises(AssertionError):
        assert_close(matrices(update), matrices(lg.aligned_network(lg.project_modes(update, frames), frames)), 1e-3)


@pytest.mark.parametrize("few", some([BY_ID["rflo-lags-3"], BY_ID["eprop"], BY_ID["propagator-blend"]], ("eprop",)))
def test_the_kernel_is_the_update_as_a_map_of_errors(few):
    rule, over = few().with_delay(1), {"horizon": HORIZON, "loss": "sequence"}
    found = lg.kernel(rule, network(STUDENT), network(TEACHER), **over)
    update = np.concatenate([x.ravel() for x in update_of(rule, **over)])
    np.testing.assert_allclose(found.credit @ found.errors.ravel(), update, atol=ROUNDING * np.abs(update).max())


def test_a_rule_describes_itself(case):
    assert case().describe().startswith(case().name)


# --- rules × models × tasks ------------------------------------------------------------------------------------------

LEAK = np.array([0.2, 0.5, 0.9, 1.0])
# A propagator that mixes units is refused by layers; so are patterns of a matrix, told in tests/updates/test_layers.py.
MIXES = ("masked-with-fixed-matrix",)


EVERY_TASK = some(TASKS, ("closed-loop",))


def leaky_reference(case, student):
    """`F`, `M` and the weights of the network that a leaky one is; `J₀` takes part where the rule names it."""
    A, W, B = student
    column = LEAK[:, None]
    J = (1 - column) * np.eye(HIDDEN) + column * W
    F, M, lags = case.reference((A, J, B))
    kept = case().propagator.internal or 0
    return F, M + kept * np.diag(1 - LEAK), lags, (A, J, column * B)


@pytest.mark.parametrize("task", EVERY_TASK)
def test_a_leaky_network_on_every_task(case, task):
    """As the network `(A, (1 − α) I + αW, αB)`, whose update comes back as `ΔW = α ΔJ`, `ΔB = α Δ(αB)`."""
    F, M, lags, plain = leaky_reference(case, STUDENT)
    expected = task_update(F, M, lags, plain, task.matrices, HORIZON)
    update = lg.expected_update(case(), lg.LeakyRNN(*STUDENT, LEAK), task(), horizon=HORIZON)
    column = LEAK[:, None]
    assert_close(matrices(update), (expected[0], column * expected[1], column * expected[2]), ROUNDING)
    assert not np.any(update.leak)


@pytest.mark.parametrize("task", EVERY_TASK)
def test_a_layer_on_every_task(case, task):
    """As its network of real blocks, by brute force; where a rule mixes units, refused with the remedy."""
    rule, given = case(), task()
    if getattr(given, "student_noise", None) is not None:
        given = eqx.tree_at(lambda t: t.student_noise, given, jnp.tile(given.student_noise, (2, 1)))
    if case.id in MIXES:
        with pytest.raises(ValueError, match=r"take lg\.real_blocks of the layer"):
            lg.expected_update(rule, layer(LAYER), given, horizon=HORIZON)
        return
    C, poles, B = LAYER
    F, m, lags = case.reference((C, np.diag(poles), B))
    blocks = lambda z: np.block([[z.real, -z.imag], [z.imag, z.real]])  # noqa: E731
    m = m + (rule.propagator.internal or 0) * np.diag(poles)
    in_blocks = task.matrices._replace(Nh=np.tile(task.matrices.Nh, (2, 1)))
    student = (np.c_[C.real, -C.imag], blocks(np.diag(poles)), np.r_[B.real, B.imag])
    dA, dW, dB = task_update(np.c_[F.real, -F.imag], blocks(m.astype(complex)), lags, student, in_blocks, HORIZON)
    re, im = slice(None, HIDDEN), slice(HIDDEN, None)
    expected = (
        dA[:, re] - 1j * dA[:, im],
        np.diag(dW[re, re] + dW[im, im]) + 1j * np.diag(dW[im, re] - dW[re, im]),
        dB[re] + 1j * dB[im],
    )
    assert_close(lg.expected_update(rule, layer(LAYER), given, horizon=HORIZON).arrays, expected, ROUNDING)
