"""Numbers → pictures, in one look."""
