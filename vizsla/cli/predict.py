"""``vizsla predict``: what a saved model says of pictures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import typer

app = typer.Typer(add_completion=False)


@app.command()
def predict(
    model: Path = typer.Argument(..., help="A model folder, a job's folder, or a model.tar.gz."),
    images: list[str] = typer.Argument(
        ..., help="Picture files, and folders of them; - reads paths from stdin, one a line."
    ),
    top_k: int = typer.Option(3, "--top-k", min=1, help="Classes to show."),
    strict_images: bool = typer.Option(
        False, "--strict-images", help="Refuse pictures that can be decoded although part of their data is broken."
    ),
    as_json: bool = typer.Option(False, "--json", help="One JSON object a picture, one a line."),
) -> None:
    """Classify pictures with a saved model. Needs no torch.

    Pictures that cannot be read are named on stderr; the exit code is then 1. So are those that are partly broken, but
    they have an answer.
    """
    import json

    from vizsla.data.picture_files import picture_files
    from vizsla.errors import ImageError
    from vizsla.models.model import load

    paths = _paths(sys.stdin.buffer.read()) if images == ["-"] else images
    paths = picture_files(paths)
    loaded = load(model)
    failed = 0
    for path, answer in zip(paths, loaded.predict_many(paths, top_k=top_k, strict_images=strict_images), strict=True):
        if isinstance(answer, ImageError):
            failed += 1
            if as_json:
                print(json.dumps({"image": path, "error": answer.to_dict()}))
            print(f"vizsla: {answer}", file=sys.stderr)
            continue
        warning = answer.warning
        if warning:
            print(f"vizsla: warning: {warning}", file=sys.stderr)
        if as_json:
            print(json.dumps(answer.to_dict()))
        else:
            shown = "   ".join(f"{label} {100 * p:.1f} %" for label, p in answer.top)
            print(f"{path}   {shown}")
    if failed:
        raise typer.Exit(1)


def _paths(data: bytes) -> list[str]:
    """The paths of a list, one a line, as Unix and Windows write them: UTF-8 or, with its mark, UTF-16."""
    import codecs

    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        lines = data.decode("utf-16", "replace").split("\n")
    else:
        lines = [os.fsdecode(line) for line in data.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    return [path for line in lines if (path := line.removesuffix("\r")).strip()]
