"""What the variables of the experiment on e-prop's rank are."""

DESCRIBE = {
    "distinct_product": "number of distinct entries of diag W times the number of outputs",
    "exact_rank": "rank of an update of W and of B at 1e-10 of its largest singular value",
    "mismatch": "distance of the update from its sum over lags, over the update",
    "outputs": "number of outputs",
    "diameter": "pseudohyperbolic diameter t of diag W",
    "rate": "fall of log σ per singular value and output, by the modulus, by lags and by polynomials",
    "rank": "rank of an update at the tolerance",
    "certified": "proved bound on the rank at the tolerance, at most the number of units",
    "law": "bound without its constant, at most the number of units",
    "path_rank": "rank of an update at a network on a learning curve",
    "path_certified": "proved bound on that rank",
    "path_law": "that bound without its constant",
    "change": "singular values of what was learned in W over the largest",
    "time": "learning time [learning time]",
    "path_time": "learning time of the networks on learning curves [learning time]",
    "epsilon": "tolerance relative to the largest singular value",
    "estimate": "name of the estimate",
    "diagonal": "diagonal of W, or of the propagator, in learning runs",
}
