"""Shared figure style; figures are drawn from datasets only."""
