"""Experiments on the mode equations."""
