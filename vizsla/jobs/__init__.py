"""Every long run is a job, and a job is a directory: what was asked, its state, its logs, metrics and results."""
