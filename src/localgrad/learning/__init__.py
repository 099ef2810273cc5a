"""Δ → time: exact flows and sampled training, runs and checkpoints."""
