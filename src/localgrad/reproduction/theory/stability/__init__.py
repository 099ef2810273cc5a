"""Stability along the optimal manifold."""
