"""What a state looks like: one file a view, from a state to frames."""
