"""The commands of the command line, one a file; `base.py` holds what they share."""
