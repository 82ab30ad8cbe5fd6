"""Charts that several pages draw."""

from __future__ import annotations

import re

import numpy as np

from vizsla.reports.charts import heat_map


def test_layers_with_long_names_are_told_apart() -> None:
    names = [f"Network_body.module.blocks.6.0.conv_{kind}.weight" for kind in ("dw", "pw")]
    drawn = re.findall(r'text-anchor="end">(…[^<]+)<', str(heat_map(np.eye(2), names, ["1", "2"])))
    assert len(set(drawn)) == 2
    assert all(name.endswith("weight") for name in drawn)
