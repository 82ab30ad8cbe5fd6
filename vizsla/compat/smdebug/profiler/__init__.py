"""What scripts of the profiler import."""
