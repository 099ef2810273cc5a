"""What finite horizons, steps and batches do to what is learned."""
