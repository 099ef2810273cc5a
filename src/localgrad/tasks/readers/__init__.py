"""Readers of weight files, one module a family of formats: bytes go in, `Weights` come out."""
