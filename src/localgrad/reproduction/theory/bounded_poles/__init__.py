"""Poles that cannot leave the unit disc, and what becomes of learning."""
