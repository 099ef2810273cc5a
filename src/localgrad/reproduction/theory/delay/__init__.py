"""Errors that arrive late: which optima stay stable, and what is learned."""
