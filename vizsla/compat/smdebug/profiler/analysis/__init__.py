"""What notebooks read of a job's profile."""
