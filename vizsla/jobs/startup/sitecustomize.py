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


def _profile() -> None:
    """Watch this process. The job's code lies on the path: a ``queue.py`` of the user's must not stand for Python's own
    here, and must be the user's again afterwards."""
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    path, before = list(sys.path), set(sys.modules)
    sys.path[:] = [*(place for place in path if place not in given), package]
    try:
        from vizsla.profiling.startup import begin

        begin()
    except Exception as error:  # noqa: BLE001 - a Python that lacks what Vizsla needs, for one
        print(f"[vizsla] the profiler does not watch this process: {error}", file=sys.stderr, flush=True)
    finally:
        sys.path[:] = path
    code = os.path.join(os.environ.get("VIZSLA_JOB_DIR", ""), "code")
    for name in set(sys.modules) - before:
        own = os.path.join(code, name.partition(".")[0])
        if os.path.exists(f"{own}.py") or os.path.isdir(own):
            del sys.modules[name]


if "VIZSLA_PROFILER_CLOCK" in os.environ:
    _profile()
