"""What a sweep can run: one file a kind."""
