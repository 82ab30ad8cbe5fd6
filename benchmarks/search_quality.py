"""Does the default strategy find as good a configuration in 20 trials as random search in 40?

    python -m benchmarks.search_quality [--quick] [--strategies default,tpe,random]

Five problems (``search_problems/*.json``): tables of what real head trainings gave, so that a search takes
milliseconds. Searches run through the real study, strategies and generations; a continuous value is looked up at the
nearest level of its table, in the scale that it is searched in. 20 repeats with other seeds; the median counts.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vizsla.tuning.heads_runner import generation
from vizsla.tuning.limits import SearchLimits
from vizsla.tuning.objective import Objective
from vizsla.tuning.search import Report, search
from vizsla.tuning.space import CategoricalParameter, ContinuousParameter, IntegerParameter, Parameter, Space, Value
from vizsla.tuning.strategies import strategy
from vizsla.tuning.study import Study, TrialOutcome
from vizsla.tuning.trials import TrialRecord, best

HERE = Path(__file__).parent / "search_problems"


class Table:
    """One stored problem."""

    def __init__(self, path: Path) -> None:
        self._content = json.loads(path.read_text())
        self.name: str = self._content["name"]
        self.objective = Objective(self._content["objective"], self._content["direction"])
        self.levels: dict[str, list[Any]] = self._content["levels"]
        self.space = Space({name: self._parameter(name) for name in self.levels}, {})

    def _parameter(self, name: str) -> Parameter:
        levels, scaling = self.levels[name], self._content["scaling"][name]
        if scaling == "Categorical":
            return CategoricalParameter(levels)
        if scaling == "Integer":
            return IntegerParameter(levels[0], levels[-1])
        return ContinuousParameter(levels[0], levels[-1], scaling)

    def value(self, params: dict[str, Value]) -> float:
        """What training gave at the nearest level of every parameter; nan where it diverged."""
        at = 0
        for name, levels in self.levels.items():
            at = at * len(levels) + self._nearest(name, params[name])
        found = self._content["values"][at]
        return math.nan if found is None else found

    def _nearest(self, name: str, value: Any) -> int:
        levels, scaling = self.levels[name], self._content["scaling"][name]
        if scaling == "Categorical":
            return levels.index(value)
        scale = math.log if scaling == "Logarithmic" else float
        return min(range(len(levels)), key=lambda i: abs(scale(levels[i]) - scale(value)))

    @property
    def optimum(self) -> float:
        """The best value in the table."""
        values = (float(v) for v in self._content["values"] if v is not None)
        return min(filter(math.isfinite, values), key=self.objective.cost)


class TableRunner:
    """Looks trials up, in the generations that heads are trained in."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._waiting: list[TrialRecord] = []

    def room(self, running: int, started: int, total: int) -> int:
        """As the heads runner's."""
        return 0 if running else generation(started, total)

    def start(self, trials: Sequence[TrialRecord]) -> None:
        """Look these up next."""
        self._waiting += trials

    def stop(self, reason: str) -> None:
        """Nothing runs on."""

    def step(self, report: Report) -> list[TrialOutcome]:
        """The values."""
        trials, self._waiting = self._waiting, []
        return [TrialOutcome(t.number, value=self._table.value(t.params)) for t in trials]


def once(table: Table, name: str, trials: int, seed: int) -> float:
    """The best value of one search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stored = optuna.create_study(direction=table.objective.direction)
    study = Study("benchmark", table.space, table.objective, strategy(name), stored, total=trials, seed=seed)
    search(study, TableRunner(table), SearchLimits(trials=trials))
    found = best(study.trials(), table.objective)
    return math.nan if found is None or found.value is None else found.value


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 repeats")
    parser.add_argument("--strategies", default="default,tpe,random")
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    repeats = 5 if arguments.quick else arguments.repeats
    tables = [Table(path) for path in sorted(HERE.glob("*.json"))]
    columns = [(name, 20) for name in arguments.strategies.split(",")] + [("random", 40)]
    print(f"median of {repeats} repeats [lower and upper quartile]; optimum: the best in the table")
    won = 0
    for table in tables:
        cells, medians = [], {}
        for name, trials in columns:
            began = time.monotonic()
            values = sorted(once(table, name, trials, seed) for seed in range(repeats))
            seconds = (time.monotonic() - began) / repeats
            low, _, high = statistics.quantiles(values, n=4)
            medians[name, trials] = statistics.median(values)
            cells.append(f"{name}@{trials} {medians[name, trials]:.4f} [{low:.4f} {high:.4f}] {seconds:.2f} s")
        holds = not table.objective.better(medians["random", 40], medians[columns[0]])
        won += holds
        print(f"{table.name:16} {table.objective.metric} optimum {table.optimum:.4f}  " + "  ".join(cells), end="")
        print("  ok" if holds else "  MISS", flush=True)
    print(f"{columns[0][0]}@20 at least as good as random@40: {won} of {len(tables)} problems")


if __name__ == "__main__":
    main()
