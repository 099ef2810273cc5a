"""Experiments on full networks."""
