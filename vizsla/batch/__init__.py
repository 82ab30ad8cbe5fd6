"""Batch transform: a folder, an archive or a bucket through the engine. No torch, no HTTP."""
