"""Stored search problems: what real head trainings gave on a grid, so that strategies can be compared in seconds."""
