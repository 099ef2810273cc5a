"""A mode as a dynamical system: equations, derivation, fixed points, stability, trajectories, basins, ensembles."""
