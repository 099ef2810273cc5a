"""Modes, rates and networks as pictures that follow a slider, in the browser."""
