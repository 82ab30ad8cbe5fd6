"""A batch transform on the cores of a Ray cluster: Ray Data hands out the inputs, an actor a core answers them.

An actor writes the answers to their place itself; what comes back is what the journal keeps, in the inputs' order.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vizsla.batch.answering import Answerer, Outcome
from vizsla.batch.document import TransformJob
from vizsla.batch.inputs import Inputs, at_address, local_input
from vizsla.batch.journal import Journal
from vizsla.batch.models import open_model
from vizsla.batch.outputs import open_output
from vizsla.batch.run import Run, Summary, Unit
from vizsla.cluster import cores, shared_variables, told
from vizsla.errors import DataError, ImageError, UsageError
from vizsla.files import write_bytes
from vizsla.serving.faults import RequestError
from vizsla.settings import settings
from vizsla.workflow.cluster_work import actor_pool, is_seen, put, ray_data
from vizsla.workflow.models import locate_model

_BATCH = 64
"""Inputs that are lost with a node."""
_BLOCK = 512
_READERS = 8


class ClusterRun(Run):
    """One attempt at a transform whose inputs are whole objects with addresses that every node can read.

    Parameters
    ----------
    job:
        The request; each node looks for its model itself.
    place:
        Where answers go: a folder or an s3:// address; None keeps them in the journal, for a table.
    """

    def __init__(
        self,
        ray: ModuleType,
        job: TransformJob,
        place: str | None,
        answerer: Answerer,
        journal: Journal,
        join: bytes,
        on_progress: Callable[[Summary], None],
    ) -> None:
        super().__init__(answerer, journal, None, Path(), lines=False, join=join, on_progress=on_progress)
        self._ray, self._job, self._place = ray, job, place

    def run(self, inputs: Inputs) -> Summary:
        """See :meth:`vizsla.batch.run.Run.run`.

        Raises
        ------
        DataError
            Also when a node does not see the inputs, or the folder of the answers.
        JobError
            When the cluster does not do it.
        """
        began = time.monotonic()
        with told(self._ray, "The cluster could not go on", do="resume the job"), self._token() as token:
            for number, row in enumerate(self._rows(inputs, token)):
                outcome = _outcome(row)
                fits_none = number == 0 and not self._before.total and (outcome.error or {}).get("kind") == "filter"
                if fits_none:
                    raise UsageError(str((outcome.error or {})["what"]))
                key = os.fsdecode(row["key"])
                self._commit(Unit(key, local_input(key, Path())), [outcome])
        return self._ended(inputs, began)

    @contextlib.contextmanager
    def _token(self) -> Iterator[str | None]:
        """A file in the folder of the answers, by which a node knows that folder: it would make one of its own."""
        if self._place is None or self._place.startswith("s3://"):
            yield None
            return
        token = Path(self._place) / f".shared-{uuid.uuid4().hex}.tmp"
        write_bytes(token, b"")
        try:
            yield str(token)
        finally:
            token.unlink(missing_ok=True)

    def _rows(self, inputs: Inputs, token: str | None) -> Iterator[dict[str, Any]]:
        data = ray_data()
        data.DataContext.get_current().execution_options.preserve_order = True
        blocks = list(self._blocks(inputs))
        if not blocks:
            return
        own = {name: os.environ[name] for name in os.environ if name.startswith("SAGEMAKER_") or name == "VIZSLA_HOME"}
        answered = data.from_arrow_refs(blocks).map_batches(
            Transformer,
            fn_constructor_args=(
                self._job.to_dict(),
                self._place,
                token,
                self._join,
                shared_variables() | own,
            ),
            batch_size=_BATCH,
            batch_format="pyarrow",
            compute=actor_pool(cores(self._ray)),
            num_cpus=1,
        )
        for part in answered.iter_batches(batch_size=None, batch_format="pyarrow"):
            yield from part.to_pylist()

    def _blocks(self, inputs: Inputs) -> Iterator[Any]:
        """Keys and addresses of what is left to do, in tables that lie in Ray's store."""
        import pyarrow

        keys: list[bytes] = []
        addresses: list[bytes] = []
        columns = {"key": keys, "address": addresses}
        for unit in self._units(inputs):
            assert unit.source.address is not None
            keys.append(os.fsencode(unit.key))
            addresses.append(os.fsencode(unit.source.address))
            if len(keys) == _BLOCK:
                yield put(self._ray, pyarrow.table({name: pyarrow.array(v, "binary") for name, v in columns.items()}))
                keys.clear()
                addresses.clear()
        if keys:
            yield put(self._ray, pyarrow.table({name: pyarrow.array(v, "binary") for name, v in columns.items()}))


class Transformer:
    """On a node: an actor on one core that answers batches of inputs."""

    def __init__(
        self, document: dict[str, Any], place: str | None, token: str | None, join: bytes, variables: dict[str, str]
    ) -> None:
        os.environ.update(variables)
        os.environ["VIZSLA_THREADS"] = "1"
        job = TransformJob.read(document)
        if token is not None and not Path(token).exists():
            raise _unseen("The folder of the answers", Path(token).parent)
        model = open_model(job, locate_model(job.model_name), 1)
        self._answerer = Answerer(job, model, settings().max_image_bytes)
        self._output = None if place is None else open_output(place)
        self._join = join
        self._sees_inputs = False

    def __call__(self, batch: Any) -> Any:
        """What the journal keeps of each input."""
        import pyarrow

        names = [os.fsdecode(key) for key in batch["key"].to_pylist()]
        addresses = [os.fsdecode(address) for address in batch["address"].to_pylist()]
        if not self._sees_inputs and not addresses[0].startswith("s3://") and not is_seen(Path(addresses[0])):
            raise _unseen("The inputs", Path(addresses[0]).parent)
        self._sees_inputs = True
        told: dict[str, list[Any]] = {"key": batch["key"].to_pylist(), "error": [], "row": [], "probabilities": []}
        with ThreadPoolExecutor(_READERS) as readers:  # they wait for the network; the answers are this thread's
            for key, read in zip(names, [readers.submit(at_address, address) for address in addresses], strict=True):
                outcome = self._answered(read.result)
                if self._output is not None:
                    self._output.put(key, outcome.content + self._join)
                row = dict(outcome.row or {})
                values = row.pop("probabilities", None)
                told["error"].append(None if outcome.error is None else json.dumps(outcome.error))
                told["row"].append(json.dumps(row) if outcome.row is not None else None)
                told["probabilities"].append(None if values is None else np.asarray(values, np.float32).tobytes())
        kinds = {"key": "binary", "error": "string", "row": "string", "probabilities": "binary"}
        return pyarrow.table({name: pyarrow.array(values, kinds[name]) for name, values in told.items()})

    def _answered(self, read: Callable[[], bytes]) -> Outcome:
        try:
            return self._answerer.answer(read())
        except (ImageError, RequestError, UsageError) as error:
            return Outcome.failed(error)


def _unseen(what: str, path: Path) -> DataError:
    return DataError(
        f"{what} cannot be seen on node {socket.gethostname()}.",
        where=path,
        do="put them where all nodes see them at the same path, or into a bucket: s3://...",
    )


def _outcome(row: dict[str, Any]) -> Outcome:
    kept = None if row["row"] is None else json.loads(row["row"])
    if kept is not None and row["probabilities"] is not None:
        kept["probabilities"] = np.frombuffer(row["probabilities"], np.float32)
    return Outcome(b"", kept, None if row["error"] is None else json.loads(row["error"]))
