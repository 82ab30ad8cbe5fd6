"""A job's profile in a notebook."""
