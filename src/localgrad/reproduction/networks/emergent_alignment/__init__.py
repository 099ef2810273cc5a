"""Whether unaligned networks align, and whether mode theory then predicts them."""
