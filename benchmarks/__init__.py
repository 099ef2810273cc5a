"""Benchmarks against the peers, in one run: `make bench`, or `python -m benchmarks [NAME ...] [--quick]`."""
