"""What Python imports first in the commands of ``vizsla aws run``: the changes that a notebook needs, made when the
modules that they are about are imported. The environment's own ``sitecustomize`` comes after it."""

import importlib
import importlib.machinery
import importlib.util
import os
import sys


def _import_the_environments_own() -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    places = [place for place in sys.path if os.path.abspath(place or os.curdir) != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", places)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


if os.environ.get("VIZSLA_AWS"):
    importlib.import_module("vizsla_aws_client").install()
_import_the_environments_own()
