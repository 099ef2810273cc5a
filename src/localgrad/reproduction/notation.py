"""The symbols of the report and of docs/theory.md, in one table.

`NOTATION` is the one source: the report prints it, and a test holds the table of docs/theory.md against it.
"""

NOTATION = (
    ("A, W, B", "a student's readout, recurrent and input weights; with a star, A*, W*, B*, a teacher's"),
    ("o, n, i", "numbers of outputs, hidden units and inputs; n* a teacher's hidden units"),
    ("T, η, N", "length of a sequence, learning rate, sequences in a batch; learning time is η times the steps"),
    ("Δθ", "a rule's update of the weights θ, subtracted in learning: θ ← θ − η Δθ; as η → 0, a flow"),
    ("F, R", "feedback: carries the output error to the hidden units; R a fixed one, A that of BPTT"),
    (
        "M",
        "propagator: carries credit one step back in time; W in BPTT, ŵ times the identity in RFLO, diag W in e-prop",
    ),
    ("τ", "number of lags that are kept; tBPTT(τ) keeps τ, BPTT all"),
    (
        "ρ, r",
        "spectral radius of a matrix; largest product of two radii in a rule's sums, the rate at which they converge",
    ),
    ("a, b, w", "a mode's readout gain, input gain and recurrent weight; a*, b*, w* the teacher's"),
    ("â, ŵ", "RFLO's feedback and decay in a mode"),
    ("c", "a* b*, all that a mode's optimal solutions see of the teacher's gains"),
    ("s", "place along the optimal manifold (s, c/s, w*): the readout gain of an optimal solution"),
    ("branch", "the optimal solutions with s > 0, or those with s < 0"),
    ("λ₊, λ₋", "the two non-zero eigenvalues of learning at a fixed point, λ₊ that with the larger real part"),
    ("rate", "−Re λ₊: how fast a small deviation from an optimal solution vanishes, per unit of learning time"),
    ("σ₁ ≥ σ₂ …", "singular values of what was learned, W_K − W_0 after K steps"),
    ("participation ratio", "(Σσ²)²/Σσ⁴, between 1, where one singular value dominates, and the rank"),
    ("silent student", "a student whose output is 0; its loss is the unit of losses where nothing else is said"),
)
"""Rows of (symbols, meaning)."""
