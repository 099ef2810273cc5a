"""Detours of RFLO over many teachers and starts."""
