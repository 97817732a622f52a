"""Executes programs: the reference executor, shards, and the conformance vectors."""
