"""Networks → numbers: alignment, rank, comparison of updates."""
