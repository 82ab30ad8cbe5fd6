"""The Python door: one file a verb of ``import vizsla``; each makes a request and calls one function."""
