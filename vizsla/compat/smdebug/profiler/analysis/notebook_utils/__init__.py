"""Analysis of what the profiler recorded."""
