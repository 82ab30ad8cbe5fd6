"""An evaluation: the document says which model and which data."""

from __future__ import annotations

from vizsla.jobs.kinds.base import Kind
from vizsla.jobs.processing import spec_of

KIND = Kind(spec_of, leaves_model=False)
