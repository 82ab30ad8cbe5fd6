"""Exporting a backbone beside other work: torch is imported and runs in a process of its own.

``python -m vizsla.models.export_process`` reads a request from its input, makes the export and ends; what went wrong is
the last line of its output, as JSON.
"""

from __future__ import annotations

import contextvars
import json
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

from vizsla.errors import ModelError, VizslaError, of_kind
from vizsla.models.export import ExportedBackbone, ensure_exported, find_exported
from vizsla.models.weights import BackboneSpec
from vizsla.parameters import DOORS, door, speak


class BackboneExport:
    """A backbone that is being exported, or was exported before.

    Where torch is loaded already, a thread exports; else a process of its own, so that its import holds up nothing.

    Examples
    --------
    >>> export = BackboneExport(BackboneSpec.resolve("resnet18"), settings().cache)  # doctest: +SKIP
    >>> export.result().features  # doctest: +SKIP
    512
    """

    def __init__(self, spec: BackboneSpec, cache: Path) -> None:
        self._spec, self._cache = spec, cache
        self.backbone = find_exported(spec, cache)
        """The backbone once it is there; None before, and where the export has failed."""
        self._error: VizslaError | None = None
        self._ended = threading.Event()
        if self.backbone is not None:
            self._ended.set()
            return
        self._process: subprocess.Popen[str] | None = None
        if "torch" not in sys.modules:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vizsla.models.export_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        target = self._export if self._process is None else self._wait
        context = contextvars.copy_context()  # errors are worded in the thread, or told from it to the process
        threading.Thread(target=context.run, args=(target,), name="export", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether there is nothing more to wait for."""
        return self._ended.is_set()

    def wait(self) -> None:
        """Wait until there is nothing more to wait for."""
        self._ended.wait()

    def result(self) -> ExportedBackbone:
        """Wait for the backbone.

        Raises
        ------
        WeightsError
            When the weights cannot be had.
        ModelError
            When the export does not answer as the original does, or its process has died.
        """
        self._ended.wait()
        if self.backbone is None:
            assert self._error is not None
            raise self._error
        return self.backbone

    def close(self) -> None:
        """End the export's process if it still runs."""
        if not self.ended and self._process is not None:
            self._process.kill()
            self._ended.wait()

    def _export(self) -> None:
        try:
            self.backbone = ensure_exported(self._spec, self._cache)
        except VizslaError as error:
            self._error = error
        except BaseException as error:  # noqa: BLE001
            self._error = ModelError(f"The backbone could not be exported: {type(error).__name__}: {error}.")
        finally:
            self._ended.set()

    def _wait(self) -> None:
        assert self._process is not None
        values = asdict(self._spec) | {"weights": self._spec.weights and str(self._spec.weights)}
        document = {"request": values, "cache": str(self._cache), "door": door().name}
        output, _ = self._process.communicate(json.dumps(document))
        if self._process.returncode == 0:
            self.backbone = find_exported(self._spec, self._cache)
        if self.backbone is None:
            self._error = _error(output, self._process.returncode)
        self._ended.set()


def _error(output: str, code: int) -> VizslaError:
    try:
        fields = json.loads(output.strip().splitlines()[-1])
        error = of_kind(fields.pop("kind"))(fields.pop("what"), **fields)
    except (IndexError, ValueError, KeyError, TypeError):
        return ModelError(
            f"The process that exports the backbone has died (exit code {code}).",
            do="what it printed is above; run again, with more memory if it was killed",
        )
    return error


def main() -> int:
    """Make one export; the exit code."""
    document = json.loads(sys.stdin.read())
    speak(DOORS[document["door"]])
    values = document["request"]
    spec = BackboneSpec(**(values | {"weights": values["weights"] and Path(values["weights"])}))
    try:
        ensure_exported(spec, Path(document["cache"]))
    except VizslaError as error:
        fields = {"kind": type(error).__name__, "what": error.what}
        fields |= {name: value for name in ("parameter", "where", "allowed", "do") if (value := getattr(error, name))}
        print(json.dumps(fields))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
