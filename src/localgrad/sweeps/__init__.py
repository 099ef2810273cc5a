"""Many runs: one file says what, Dask computes it, one Zarr store holds it."""
