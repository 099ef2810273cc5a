"""What a rule does as a dynamical system: fixed points, stability, single trajectories."""
