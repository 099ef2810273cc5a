"""Rule × model × task → Δ: exact expected updates and sampled ones."""
