"""Tasks of sequences that ship, one a file; what they have in common is in `tasks/sequences.py`."""
