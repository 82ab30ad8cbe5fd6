"""Whole jobs, put together from the rooms below; the doors call these."""
