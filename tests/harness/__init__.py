"""Harness of tests, faults and benchmarks: Postgres, collectors, pipelines and whole stacks."""
