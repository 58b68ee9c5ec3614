"""The stages: one on one batch. Read, call pure functions, write a part. Idempotent; no dask."""
