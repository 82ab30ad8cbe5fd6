"""Who runs jobs: one small protocol, one file an executor."""
