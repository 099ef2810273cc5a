"""What learns: linear networks, and the modes of aligned ones."""
