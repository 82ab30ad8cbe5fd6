"""What Python imports first in the processes of a script: a logger that has no handler prints, as on SageMaker.

There the root logger has a handler, so that lines of a logger with a level and no handler of its own are in the log
and begin ``INFO:__main__:``. Here the handler of last resort does that: it speaks only where a script has set up none,
and is not in the way of one that calls ``logging.basicConfig``.
"""

import importlib.machinery
import importlib.util
import logging
import os
import sys

if logging.lastResort is not None:
    logging.lastResort.setLevel(logging.NOTSET)
    logging.lastResort.setFormatter(logging.Formatter(logging.BASIC_FORMAT))


def _import_the_environments_own() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    places = [place for place in sys.path if os.path.abspath(place) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


_import_the_environments_own()

if "VIZSLA_PROFILER_CLOCK" in os.environ:
    try:
        from vizsla.profiling.startup import begin

        begin()
    except Exception as error:  # noqa: BLE001 - a Python that does not see Vizsla, for one
        print(f"[vizsla] the profiler does not watch this process: {error}", file=sys.stderr, flush=True)
