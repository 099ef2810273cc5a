"""Experiments with claims, the catalogue of them, and the report."""
