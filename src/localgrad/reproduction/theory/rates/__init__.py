"""How fast each rule converges along the optimal manifold."""
