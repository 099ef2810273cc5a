"""What is remembered of a problem's kind never stands for another kind, nor hides an error or a warning."""

import jax
import numpy as np
import pytest
from cases import FEEDBACK, STUDENT, TEACHER, matrices, network

import localgrad as lg


def update(rule, student=STUDENT, teacher=TEACHER, **settings):
    return lg.expected_update(rule, network(student), network(teacher), **settings)


def test_what_does_not_fit_is_refused_after_what_does():
    update(lg.RFLO(FEEDBACK, 0.3))
    for _ in range(2):
        with pytest.raises(ValueError, match="feedback has shape"):
            update(lg.RFLO(FEEDBACK[:, :-1], 0.3))
        with pytest.raises(ValueError, match="decay has shape"):
            update(lg.RFLO(FEEDBACK, np.ones(3)))
        with pytest.raises(ValueError, match="method must be"):
            update(lg.RFLO(FEEDBACK, 0.3), method=["lags"])
        with pytest.raises(ValueError, match="rule is a str, not a Rule"):
            update("rflo")


def test_whole_numbers_are_part_of_the_kind():
    """`Rule` keeps the 1 of `M = J` as a whole number, which shapes the program; 2 is another rule."""
    one, two = (update(lg.Rule("symmetric", lg.Propagator(full=share), 2)) for share in (1, 2))
    assert float(np.abs(one.W - two.W).max()) > 1e-3
    np.testing.assert_allclose(two.A, one.A)


def test_every_call_that_cuts_warns():
    nets = [lg.LinearRNN(*(x.astype(np.float32) for x in net)) for net in (STUDENT, TEACHER)]
    with jax.enable_x64(False):
        lg.expected_update(lg.RFLO(FEEDBACK.astype(np.float32), 0.3), *nets)
        for _ in range(2):
            with pytest.warns(UserWarning, match="a matrix of the rule is cut"):
                lg.expected_update(lg.RFLO(FEEDBACK, 0.3), *nets)


def test_numbers_are_never_remembered():
    rule = lg.RFLO(FEEDBACK, 0.3)
    once = update(rule)
    with pytest.raises(ValueError, match="student's W has spectral radius"):
        update(rule, (STUDENT[0], 5 * STUDENT[1], STUDENT[2]))
    for x, y in zip(matrices(update(rule)), matrices(once), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("change", [jax.jit, jax.grad, jax.vmap])
def test_lag_by_lag_an_infinite_horizon_is_refused_where_numbers_are_traced(change):
    def entry(readout):
        student = lg.LinearRNN(readout, *map(jax.numpy.asarray, STUDENT[1:]))
        return lg.expected_update(lg.BPTT(), student, network(TEACHER), method="lags").A[0, 0]

    readout = np.stack([STUDENT[0]]) if change is jax.vmap else STUDENT[0]
    with pytest.raises(ValueError, match=r"inside jax.jit, jax.vmap and jax.grad leave method out"):
        change(entry)(readout)
