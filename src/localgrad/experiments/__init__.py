"""The experiments of the reproduction, one file a topic."""
