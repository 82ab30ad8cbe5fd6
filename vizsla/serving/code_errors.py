"""What is told of an error that a model's own code has raised: in which line, in which words, and what helps."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path

from vizsla.jobs.isolate import OPT_ML
from vizsla.serving.entry import CODE, REQUIREMENTS

_WORDS = 500
_NAMES = 10


def words(error: BaseException, step: str) -> str:
    """The error in one line, for the client; the whole of it goes to stderr.

    ``step`` is where it came: ``import``, or what failed (``model_fn``).
    """
    with contextlib.suppress(Exception):  # the code may have closed it
        traceback.print_exception(error)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error's own __str__ is the code's, too
        text = "it cannot be printed"
    what = "cannot be imported" if step == "import" else f"failed in {step}"
    return f"The model's code {what}: {type(error).__name__}: {text[:_WORDS]}"


def place(error: BaseException, model: Path) -> str | None:
    """The file and line in the model's ``code/``; None where the error came from nowhere in it."""
    code = model / CODE
    lines = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        lines.append((error.filename, error.lineno))
    for name, line in reversed(lines):
        if Path(name).is_relative_to(code):
            return f"{CODE}/{Path(name).relative_to(code)}, line {line}"
    return None


def advice(error: BaseException, model: Path, no_opt_ml: str | None) -> str | None:
    """What helps, where that is known; ``no_opt_ml`` is why there is no /opt/ml/model for the code."""
    if isinstance(error, ModuleNotFoundError):
        return f"name the package that has it in the model's {REQUIREMENTS}"
    if not isinstance(error, FileNotFoundError) or not Path(str(error.filename)).is_relative_to(OPT_ML):
        return None
    if no_opt_ml is not None:
        return f"open files below the folder that model_fn is given: there is no {OPT_ML}/model here ({no_opt_ml})"
    if not Path(str(error.filename)).is_relative_to(OPT_ML / "model"):
        return f"open files below {OPT_ML}/model: behind an endpoint there is nothing else"
    names = sorted(path.name for path in model.iterdir())
    return f"correct the name, or pack the file; the model has {', '.join(names[:_NAMES])}"
