"""What smclarify and fairlearn say of random tables: run by a Python that has them (see test_peers.py).

Reads tables as JSON from stdin, writes a list of objects, one a table: a number, or the words of an error, a metric.
"""

from __future__ import annotations

import json
import math
import sys
import warnings

import numpy as np
import pandas as pd
from smclarify.bias.metrics import basic_stats, posttraining, pretraining  # noqa: F401

warnings.filterwarnings("ignore")


def safe(function, *arguments):
    try:
        value = float(function(*arguments))
    except ValueError as error:
        return str(error)
    return value if math.isfinite(value) else str(value)


def of_smclarify(table) -> dict:
    frame = pd.DataFrame(table["features"])
    feature = pd.Series(table["label"])
    facet = pd.Series(table["facet"]).astype(bool)
    label = pd.Series(table["label"]).astype(str)
    positive = pd.Series(table["positive"]).astype(bool)
    predicted = pd.Series(table["predicted"]).astype(bool)
    group = pd.Series(table["group"])
    found = {"CI": safe(pretraining.CI, feature, facet), "DPL": safe(pretraining.DPL, feature, facet, positive)}
    found |= {name: safe(getattr(pretraining, name), label, facet) for name in ("KL", "JS", "LP", "TVD", "KS")}
    found["CDDL"] = safe(pretraining.CDDL, feature, facet, positive, group)
    found["DPPL"] = safe(posttraining.DPPL, feature, facet, predicted)
    found["DI"] = safe(posttraining.DI, feature, facet, predicted)
    for name in ("DCA", "DCR", "RD", "SD", "DAR", "DRR", "AD", "TE"):
        found[name] = safe(getattr(posttraining, name), feature, facet, positive, predicted)
    found["CDDPL"] = safe(posttraining.CDDPL, feature, facet, predicted, group)
    found["GE"] = safe(posttraining.GE, positive, predicted)
    found["FT"] = safe(posttraining.FT, frame, facet, predicted)
    return found


def of_fairlearn(table) -> dict:
    from fairlearn.metrics import MetricFrame, selection_rate, true_negative_rate, true_positive_rate
    from sklearn.metrics import accuracy_score, precision_score

    metrics = {
        "RD": true_positive_rate,
        "SD": true_negative_rate,
        "AD": accuracy_score,
        "DAR": lambda y, p: precision_score(y, p, zero_division=0),
        "DPPL": selection_rate,
    }
    y, p, facet = (np.array(table[name], int) for name in ("positive", "predicted", "facet"))
    rates = MetricFrame(metrics=metrics, y_true=y, y_pred=p, sensitive_features=facet).by_group
    sign = {"SD": -1}
    return {name: sign.get(name, 1) * float(rates[name][0] - rates[name][1]) for name in metrics}


def main() -> None:
    tables = json.load(sys.stdin)
    json.dump([{"smclarify": of_smclarify(table), "fairlearn": of_fairlearn(table)} for table in tables], sys.stdout)


if __name__ == "__main__":
    main()
