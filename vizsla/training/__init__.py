"""Features once, then heads: all in numpy, because importing torch takes longer than training a head."""
