"""``vizsla VERB``: finds the verb's file and turns errors into words and exit codes."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any

import typer
import typer.core
import typer.main

from vizsla.errors import VizslaError
from vizsla.parameters import COMMAND, speak
from vizsla.version import VERSION

VERBS: dict[str, str] = {
    "check": "What is wrong with a data set: damage, copies, leaks, labels.",
    "fit": "A folder of labelled pictures becomes a classifier.",
    "models": "The registry: versions of models, their approval, their proof.",
    "serve": "Saved models behind an HTTP endpoint, with SageMaker's contracts.",
    "endpoints": "Servers in the background: variants, canaries, data capture.",
    "train": "Train as a job: the built-in training, or any script unmodified.",
    "tune": "Search for the best hyperparameters: heads in seconds, or any script.",
    "debug": "What is wrong with a training: rules over what its job recorded.",
    "profile": "Where the time and the machine went in a job, and what to change.",
    "jobs": "List, show, follow, stop, resume and remove jobs.",
    "ui": "MLflow's pages: every job with its parameters, metrics and results.",
    "evaluate": "How good a saved model is on any labelled pictures, and where not.",
    "bias": "Whether a group is treated otherwise than the rest: Clarify's metrics of a table.",
    "explain": "Why a saved model says what it says: maps, segments, nearest training pictures.",
    "predict": "What a saved model says of pictures.",
    "transform": "A saved model over a whole folder, archive or bucket, as a job.",
    "aws": "AWS's clients and notebooks, unmodified, against this machine.",
    "cache": "What is kept between runs: show, bound, clear.",
}
"""Verb to its line in ``--help``. The verb's file is ``vizsla/cli/<verb>.py`` and holds a ``typer.Typer`` named
``app``; it is imported when the verb is used, so that ``--help`` answers at once."""


class _Verb(typer.core.TyperCommand):
    """Stands for a verb whose file is not imported yet."""

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        module = importlib.import_module(f"vizsla.cli.{self.name}")
        return typer.main.get_command(module.app).make_context(info_name, args, parent=parent, **extra)


class _Verbs(typer.core.TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in VERBS.items():
            self.add_command(_Verb(name, help=line))

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            if error.args:  # what was interrupted, and how it goes on
                print(f"\nvizsla: {error}", file=sys.stderr)
            raise


def _show_version(asked: bool) -> None:
    if asked:
        print(f"vizsla {VERSION}")
        raise typer.Exit


# Plain help: rich would take longer to import (100 ms) than everything else together.
app = typer.Typer(cls=_Verbs, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(no_args_is_help=True)
def _root(
    version: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
    ),
) -> None:
    """The whole life of an image classifier, on your own machine."""


def main() -> None:
    """The ``vizsla`` command."""
    speak(COMMAND)
    # Pillow warns of oddities in pictures that it reads well; those that it cannot read become errors.
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    try:
        app(prog_name="vizsla")
    except VizslaError as error:
        print(f"vizsla: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `vizsla ... | head`
        sys.stderr.close()
        sys.exit(1)
