"""How aligned a student is, and its effective modes: by hand, against loops, on aligned pairs drawn by Hypothesis."""

import jax
import numpy as np
import pytest
import scipy.linalg
from cases import network, random_matrices
from hypothesis import given
from hypothesis import strategies as st

import localgrad as lg

# Products of a few orthogonal matrices of size up to 6, entries of order 1.
ROUNDING = 1e-13

OUTPUT, HIDDEN, INPUT, NUM_MODES = 4, 6, 3, 3
TEACHER_MODES = lg.Mode(a=np.array([2.0, 1.5, 1.0]), b=np.array([1.5, 1.0, 0.5]), w=np.array([0.8, -0.3, 0.5]))

seeds = st.integers(0, 2**31 - 1)
signed = st.floats(0.1, 2.0).flatmap(lambda size: st.sampled_from([size, -size]))
triples = st.lists(signed, min_size=NUM_MODES, max_size=NUM_MODES).map(np.array)
recurrent = st.lists(st.floats(-0.9, 0.9), min_size=NUM_MODES, max_size=NUM_MODES).map(np.array)


def orthogonal(rng, size):
    return np.linalg.qr(rng.standard_normal((size, size)))[0]


def in_frames(modes, U, P, V):
    """`(U Ā Pᵀ, P W̄ Pᵀ, P B̄ Vᵀ)` in plain NumPy."""
    a, b, w = modes
    U, P, V = (x[:, : len(a)] for x in (U, P, V))
    return U * a @ P.T, P * w @ P.T, P * b @ V.T


def make_teacher(rng):
    """A teacher of the modes above in drawn frames, with those of outputs and inputs."""
    U, P, V = (orthogonal(rng, size) for size in (OUTPUT, HIDDEN, INPUT))
    return network(in_frames(TEACHER_MODES, U, P, V)), U, V


TEACHER, U, V = make_teacher(np.random.default_rng(5))


def reference(student, R, U, V):
    """The definitions of docs/theory.md, section 9, mode by mode, with SciPy's polar decomposition."""
    A, W, B = student
    rows = {name: [] for name in ("input_output", "feedback", "a", "b", "w", "credit")}
    axes = []
    for k in range(NUM_MODES):
        readout, drive, credit = U[:, k] @ A, B @ V[:, k], U[:, k] @ R
        c = readout @ drive / np.linalg.norm(readout) / np.linalg.norm(drive)
        p = readout / np.linalg.norm(readout) + np.sign(c) * drive / np.linalg.norm(drive)
        p = p / np.linalg.norm(p)
        axes.append(p)
        rows["input_output"].append(abs(c))
        rows["feedback"].append(credit @ readout / np.linalg.norm(credit) / np.linalg.norm(readout))
        for name, value in (("a", readout @ p), ("b", p @ drive), ("w", p @ W @ p), ("credit", credit @ p)):
            rows[name].append(value)
    P = scipy.linalg.polar(np.array(axes).T)[0]
    inner = P.T @ W @ P
    return {**rows, "recurrent": np.sum(np.diag(inner) ** 2) / np.sum(inner**2)}


def test_by_hand():
    """Teacher frames are the axes. Row 1 of A is along (3, 4)/5, column 1 of B along (1, 0): cosine 3/5, and
    `p_1 = (8, 4)/√80 = (2, 1)/√5`; row 2 is along (0, 1) and column 2 along (0, −1): cosine −1, `p_2 = (0, 1)`.

    `a_1 = (3·2 + 4)/√5`, `b_1 = 2/√5`, `w_1 = (4·0.5 + 2·(0.1 + 0.2) + 0.3)/5 = 2.9/5`. `p_1` is the first axis rotated
    by φ, `tan φ = ½`, and `p_2` the second unrotated, so `P` is the rotation by φ/2. The diagonal of `PᵀWP` is then
    `0.4 ± (0.1 cos φ + 0.15 sin φ) = 0.4 ± 0.35/√5`: energy `2 (0.16 + 0.0245) = 0.369` of `‖W‖² = 0.39`.
    """
    teacher = lg.LinearRNN([[2.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.25]], np.eye(2))
    student = lg.LinearRNN([[3.0, 4.0], [0.0, 1.0]], [[0.5, 0.1], [0.2, 0.3]], [[1.0, 0.0], [0.0, -1.0]])
    R = [[-4.0, 3.0], [1.0, -1.0]]
    found = lg.alignment(student, teacher, R)
    np.testing.assert_allclose(found.input_output, [0.6, 1.0], rtol=ROUNDING)
    np.testing.assert_allclose(found.recurrent, 0.369 / 0.39, rtol=ROUNDING)
    np.testing.assert_allclose(found.feedback, [0.0, -np.sqrt(0.5)], atol=ROUNDING)
    modes = lg.effective_modes(student, teacher, R)
    root = np.sqrt(5)
    np.testing.assert_allclose(modes.student.a, [10 / root, 1], rtol=ROUNDING)
    np.testing.assert_allclose(modes.student.b, [2 / root, -1], rtol=ROUNDING)
    np.testing.assert_allclose(modes.student.w, [0.58, 0.3], rtol=ROUNDING)
    np.testing.assert_allclose(modes.feedback, [-5 / root, -1], rtol=ROUNDING)
    for x, expected in zip(modes.teacher, ([2, 1], [1, 1], [0.5, 0.25]), strict=True):
        np.testing.assert_allclose(x, expected, rtol=ROUNDING)


@pytest.mark.parametrize("feedback_axes", [(), (3,), (2, 1)])
def test_against_loops_over_any_leading_axes(feedback_axes):
    batch = [[random_matrices(OUTPUT, HIDDEN, INPUT, seed=10 * i + j) for j in range(3)] for i in range(2)]
    students = network(np.array([[one[x] for one in row] for row in batch]) for x in range(3))
    R = np.random.default_rng(1).standard_normal((*feedback_axes, OUTPUT, HIDDEN))
    teacher_modes, frames = lg.aligned_modes(TEACHER)
    found, modes = lg.alignment(students, TEACHER, R), lg.effective_modes(students, TEACHER, R)
    assert found.input_output.shape == modes.student.w.shape == modes.feedback.shape == (2, 3, NUM_MODES)
    assert found.recurrent.shape == (2, 3)
    each_R = np.broadcast_to(R, (2, 3, OUTPUT, HIDDEN))
    for i, j in np.ndindex(2, 3):
        expected = reference(batch[i][j], each_R[i, j], frames.U, frames.V)
        for name in ("input_output", "recurrent", "feedback"):
            np.testing.assert_allclose(getattr(found, name)[i, j], expected[name], atol=ROUNDING)
        for name, x in zip(("a", "b", "w", "credit"), (*modes.student, modes.feedback), strict=True):
            np.testing.assert_allclose(x[i, j], expected[name], atol=100 * ROUNDING)
    for x, y in zip(modes.teacher, teacher_modes, strict=True):
        np.testing.assert_array_equal(x, y)


@given(seeds, triples, triples, recurrent, triples)
def test_an_aligned_student_has_its_own_modes(seed, a, b, w, r):
    """Its hidden frame has nothing to do with the teacher's; `(a, b)` comes back as `(|a|, sign(a) b)`."""
    rng = np.random.default_rng(seed)
    teacher, U, V = make_teacher(rng)
    P = orthogonal(rng, HIDDEN + 1)
    student = network(in_frames((a, b, w), U, P, V))
    R = U[:, :NUM_MODES] * r @ P[:, :NUM_MODES].T
    modes = lg.effective_modes(student, teacher, R)
    for x, y in zip(modes.teacher, TEACHER_MODES, strict=True):
        np.testing.assert_allclose(x, y, atol=ROUNDING)
    for x, y in zip((*modes.student, modes.feedback), (abs(a), np.sign(a) * b, w, np.sign(a) * r), strict=True):
        np.testing.assert_allclose(x, y, atol=ROUNDING)
    found = lg.alignment(student, teacher, R)
    np.testing.assert_allclose(found.input_output, 1, atol=ROUNDING)
    np.testing.assert_allclose(found.feedback, np.sign(a * r), atol=ROUNDING)
    if np.abs(w).max() > 1e-3:  # below, its rounding counts
        np.testing.assert_allclose(found.recurrent, 1, atol=ROUNDING)


@given(seeds)
def test_the_hidden_units_own_axes_do_not_matter(seed):
    rng = np.random.default_rng(seed)
    A, W, B = (0.4 * rng.standard_normal(shape) for shape in ((OUTPUT, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INPUT)))
    R, turn = rng.standard_normal((OUTPUT, HIDDEN)), orthogonal(rng, HIDDEN)
    here, there = network((A, W, B)), network((A @ turn.T, turn @ W @ turn.T, turn @ B))
    for diagnostic in (lg.alignment, lg.effective_modes):
        one, other = diagnostic(here, TEACHER, R), diagnostic(there, TEACHER, R @ turn.T)
        for x, y in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
            # A nearly singular set of axes `p_k` turns its polar factor by rounding over its smallest value.
            np.testing.assert_allclose(x, y, atol=1e-9)


@given(seeds)
def test_unaligned_directions_overstate_the_gain(seed):
    """`a_k b_k = (UᵀABV)_kk (1 + |c|)/(2|c|)`, as the module says."""
    student = random_matrices(OUTPUT, HIDDEN, INPUT, seed)
    _, frames = lg.aligned_modes(TEACHER)
    a, b, _ = lg.effective_modes(network(student), TEACHER).student
    c = lg.alignment(network(student), TEACHER).input_output
    gain = np.diag(frames.U.T @ student[0] @ student[2] @ frames.V)
    np.testing.assert_allclose(2 * c * a * b, gain * (1 + c), atol=100 * ROUNDING)


@pytest.mark.parametrize("rule", [lg.BPTT(), lg.TruncatedBPTT(1), "rflo"], ids=["bptt", "tbptt", "rflo"])
def test_effective_modes_learn_as_the_network_does(rule):
    """A step of the aligned network, read off again, is a step of its mode equations; it stays aligned."""
    rng = np.random.default_rng(6)
    P, start, r = orthogonal(rng, HIDDEN), (np.array([1.0, 0.8, 1.2]), np.ones(3), np.array([0.2, 0.4, 0.6])), 0.7
    student = network(in_frames(start, U, P, V))
    R = r * U[:, :NUM_MODES] @ P[:, :NUM_MODES].T
    on_network, on_modes = (lg.RFLO(R, 0.5), lg.RFLO(r, 0.5)) if rule == "rflo" else (rule, rule)
    update = lg.expected_update(on_network, student, TEACHER)
    after = jax.tree.map(lambda x, dx: x - 0.01 * dx, student, update)
    before = lg.effective_modes(student, TEACHER, R)
    expected = [x - 0.01 * dx for x, dx in zip(before.student, lg.mode_update(on_modes, *before[:2]), strict=True)]
    for x, y in zip(lg.effective_modes(after, TEACHER).student, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)
    np.testing.assert_allclose(lg.alignment(after, TEACHER).recurrent, 1, rtol=1e-12)


def test_they_go_straight_into_the_mode_equations():
    student = network(0.5 * x for x in random_matrices(OUTPUT, HIDDEN, INPUT, 3))
    R = np.random.default_rng(1).standard_normal((OUTPUT, HIDDEN))
    modes = lg.effective_modes(student, TEACHER, R)
    run = lg.integrate_modes(lg.RFLO(modes.feedback, 0.5), modes.student, modes.teacher, duration=1.0)
    assert run.outcome.shape == (NUM_MODES,)
    assert np.all(np.isfinite(run.final))


def test_where_there_is_nothing_to_measure_the_answer_is_zero():
    silent = lg.LinearRNN(np.zeros((OUTPUT, HIDDEN)), np.zeros((HIDDEN, HIDDEN)), np.zeros((HIDDEN, INPUT)))
    R = np.zeros((OUTPUT, HIDDEN))
    for x in lg.alignment(silent, TEACHER, R):
        np.testing.assert_array_equal(x, 0)
    modes = lg.effective_modes(silent, TEACHER, R)
    for x in (*modes.student, modes.feedback):
        np.testing.assert_array_equal(x, np.zeros(NUM_MODES))
    assert lg.alignment(silent, TEACHER).feedback is None
    assert lg.effective_modes(silent, TEACHER).feedback is None


def test_a_mode_that_is_only_driven_lies_on_its_input_axis():
    """`p_2 = (3, 4)/5`: `b_2 = 5` and `w_2 = 0.36·0.5 + 0.48·(0.1 + 0.2) + 0.64·0.3`."""
    teacher = lg.LinearRNN([[2.0, 0.0], [0.0, 1.0]], [[0.5, 0.0], [0.0, 0.25]], np.eye(2))
    student = lg.LinearRNN([[1.0, 0.0], [0.0, 0.0]], [[0.5, 0.1], [0.2, 0.3]], [[1.0, 3.0], [0.0, 4.0]])
    assert lg.alignment(student, teacher).input_output.tolist() == [1, 0]
    modes = lg.effective_modes(student, teacher).student
    np.testing.assert_allclose([x[1] for x in modes], [0, 5, 0.516], rtol=ROUNDING)


def test_what_is_only_rounding_has_no_direction():
    """In drawn frames a mode that is silent in `A`, `B` or `R` is so to rounding only, and still has cosine 0."""
    rng = np.random.default_rng(6)
    P = orthogonal(rng, HIDDEN)
    ones = np.ones(3)
    without_readout = network(in_frames((np.array([1.0, 0.0, 1.0]), ones, 0.5 * ones), U, P, V))
    without_drive = network(in_frames((ones, np.array([0.0, 1.0, 1.0]), 0.5 * ones), U, P, V))
    R = U[:, :3] * [1.0, 1.0, 0.0] @ P[:, :3].T
    assert np.abs(U[:, 1] @ np.asarray(without_readout.A)).max() > 0
    assert lg.alignment(without_readout, TEACHER).input_output[1] == 0
    assert lg.effective_modes(without_readout, TEACHER).student.a[1] == 0
    assert lg.alignment(without_drive, TEACHER).input_output[0] == 0
    assert lg.alignment(without_drive, TEACHER, R).feedback[2] == 0
    np.testing.assert_allclose(lg.alignment(without_drive, TEACHER).recurrent, 1, rtol=ROUNDING)


def test_the_scale_of_the_weights_does_not_matter():
    """Squares of 1e-200 are 0, and those of 1e200 infinite; the alignment is the same."""
    student = random_matrices(OUTPUT, HIDDEN, INPUT, 3)
    R = np.random.default_rng(1).standard_normal((OUTPUT, HIDDEN))
    expected = lg.alignment(network(student), TEACHER, R)
    for scale in (1e-200, 1e200):
        found = lg.alignment(network(scale * x for x in student), TEACHER, scale * R)
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-12)


def test_modes_the_teacher_does_not_show_are_left_out():
    """Three modes within four outputs, six hidden units and four inputs: the fourth pair of axes means nothing."""
    rng = np.random.default_rng(8)
    modes = lg.Mode(np.array([1.0, 2.0, 3.0]), np.array([1.0, 0.0, 1.0]), np.array([0.5, 0.6, 0.7]))
    teacher = network(in_frames(modes, orthogonal(rng, 4), orthogonal(rng, 6), orthogonal(rng, 4)))
    assert len(lg.aligned_modes(teacher)[0].a) == 4
    found = lg.effective_modes(network(random_matrices(4, 5, 4, 1)), teacher)
    np.testing.assert_allclose(found.teacher.w, [0.7, 0.5], rtol=1e-12)
    assert found.student.a.shape == (2,)


def test_float32_students_and_teachers():
    student = random_matrices(OUTPUT, HIDDEN, INPUT, 3)
    single = [network(np.asarray(x, np.float32) for x in net) for net in (student, TEACHER.matrices)]
    found, expected = lg.alignment(*single), lg.alignment(network(student), TEACHER)
    np.testing.assert_allclose(found.input_output, expected.input_output, atol=1e-5)
    np.testing.assert_allclose(found.recurrent, expected.recurrent, atol=1e-5)


STUDENT = random_matrices(OUTPUT, HIDDEN, INPUT, 3)
NOT_A_NUMBER = [np.where(np.arange(x.size).reshape(x.shape) == 0, np.nan, x) for x in STUDENT]
BAD = {
    "student-type": ((STUDENT, TEACHER), "the student is a tuple, not a LinearRNN"),
    "student-nan": (
        (network([STUDENT[0], NOT_A_NUMBER[1], STUDENT[2]]), TEACHER),
        "student's W has an entry that is not",
    ),
    "teacher-nan": ((network(STUDENT), network(NOT_A_NUMBER)), "the teacher's A has an entry that is not finite"),
    "teacher-dense": ((network(STUDENT), network(STUDENT)), "W is not symmetric"),
    "teacher-mixes": (
        (network(STUDENT), lg.LinearRNN(STUDENT[0], np.diag(np.arange(6) / 10), STUDENT[2])),
        "the readout A mixes eigenvectors of W",
    ),
    "teacher-batch": ((network(STUDENT), network(x[None] for x in TEACHER.matrices)), "give one teacher"),
    "teacher-silent": ((network(STUDENT), network(0 * x for x in TEACHER.matrices)), "the teacher shows no mode"),
    "outputs": ((network(random_matrices(2, 6, 3, 1)), TEACHER), "student has 2 outputs and 3 inputs, teacher 4 and 3"),
    "hidden": ((network(random_matrices(4, 2, 3, 1)), TEACHER), "2 hidden units, too few .* 3 modes"),
    "feedback-shape": ((network(STUDENT), TEACHER, np.ones((6, 4))), r"feedback has shape \(6, 4\)"),
    "feedback-scalar": ((network(STUDENT), TEACHER, 1.0), r"feedback has shape \(\)"),
    "feedback-nan": ((network(STUDENT), TEACHER, np.full((4, 6), np.nan)), "the feedback has an entry that is not"),
    "feedback-axes": (
        (network(np.stack([x, x]) for x in STUDENT), TEACHER, np.ones((3, 4, 6))),
        r"leading axes do not broadcast .* A \(2,\), W \(2,\), B \(2,\), feedback \(3,\)",
    ),
}


@pytest.mark.parametrize("diagnostic", [lg.alignment, lg.effective_modes])
@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, diagnostic):
    arguments, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        diagnostic(*arguments)
