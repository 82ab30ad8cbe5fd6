"""The look at every picture on the nodes of a Ray cluster: Ray Data hands out the pictures, an actor a core looks.

The features go to the shared cache from where they were computed. They are the bits that one machine computes: each
picture is a call of its own on one thread there, too.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vizsla.cluster import connect, cores, shared_variables, told
from vizsla.data.inspection import RECORD
from vizsla.data.remarks import listening
from vizsla.data.scan import Look, Outcome, Seen
from vizsla.data.scan_store import ScanStore
from vizsla.errors import DataError, ImageError, UsageError
from vizsla.files import write_json
from vizsla.images import DecodedImage, Limits
from vizsla.jobs import executors
from vizsla.models.engine import OnnxEngine
from vizsla.models.export import ExportedBackbone
from vizsla.optional import require
from vizsla.parameters import spelled
from vizsla.settings import settings
from vizsla.workflow.cluster_work import actor_pool, is_seen, parts, put, ray_data
from vizsla.workflow.look_companion import LookCompanion

_MOST = 512
"""Pictures of a batch: what is lost with a node, and what one file of the cache holds."""
_BATCHES_A_CORE = 4
_UNSEEN = "cannot be seen on node"


def is_elsewhere(executor: str) -> bool:
    """Whether pictures are looked at on other machines.

    Raises
    ------
    UsageError
        Where neither this machine nor a cluster is meant.
    """
    if executor == "local":
        return False
    if executor.partition("://")[0] == "ray":
        return True
    raise UsageError(
        f"Pictures are not looked at by {executor!r}.",
        parameter="executor",
        allowed="local, ray, ray://HOST:PORT",
        do="`vizsla train DATA` runs all of a training there" if executor in executors.names() else None,
    )


class ClusterLook:
    """Looks at pictures on a cluster (:class:`vizsla.data.scan.Elsewhere`) and computes the features that ``cache``
    lacks, by a backbone that is there, whose graph is ``graph``; it is the scan's companion as well.

    Raises
    ------
    JobError
        When there is no way to the cluster, or it has no core.
    """

    def __init__(
        self,
        executor: str,
        backbone: ExportedBackbone,
        graph: Path | bytes,
        cache: Path,
        *,
        with_looks: bool = False,
    ) -> None:
        require("pyarrow", extra="ray", feature="Work on a Ray cluster")
        self._ray = connect(executor if "://" in executor else None)
        self._cores = cores(self._ray)
        self._backbone, self._graph, self._cache = backbone, graph, cache.absolute()
        self._companion = LookCompanion.of(self._cache, backbone, OnnxEngine(graph), with_looks=with_looks)
        self.computed = 0
        self.seconds = 0.0

    @property
    def short_side(self) -> int | None:
        """See :class:`vizsla.data.scan.Companion`."""
        return self._companion.short_side

    def missing(self, sha256: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """See :class:`vizsla.data.scan.Companion`."""
        return self._companion.missing(sha256)

    def take(self, key: bytes, decoded: DecodedImage) -> None:
        """Nothing: who looks at a picture, on a node, keeps its features."""

    def finish(self, threads: int) -> None:
        """Nothing waits here."""

    def flush(self) -> None:
        """Nothing waits here."""

    def __call__(
        self, root: Path, paths: Sequence[str], rows: npt.NDArray[np.int64], limits: Limits, store: ScanStore
    ) -> Iterator[tuple[int, Outcome]]:
        """See :class:`vizsla.data.scan.Elsewhere`.

        Raises
        ------
        DataError
            When a node does not see the pictures or the cache.
        """
        began, token = time.monotonic(), f"shared-{uuid.uuid4().hex}.json"
        write_json(self._cache / token, {}, make_folder=True)
        try:
            for part in self._parts(root.absolute(), paths, rows, limits, store, token):
                yield from self._outcomes(part)
        except DataError as error:
            if _UNSEEN in error.what:
                error.do = (
                    "put pictures and cache (VIZSLA_CACHE, or a bucket for it) where all nodes see them at the same "
                    "path, or leave out " + spelled("executor", "ray")
                )
            raise
        finally:
            (self._cache / token).unlink(missing_ok=True)
            self.seconds += time.monotonic() - began

    def _parts(
        self,
        root: Path,
        paths: Sequence[str],
        rows: npt.NDArray[np.int64],
        limits: Limits,
        store: ScanStore,
        token: str,
    ) -> Iterator[Any]:
        import pyarrow

        size = max(1, min(_MOST, -(-len(rows) // (_BATCHES_A_CORE * self._cores))))
        blocks = [
            pyarrow.table({"row": chunk, "path": pyarrow.array([os.fsencode(paths[row]) for row in chunk], "binary")})
            for chunk in (rows[at : at + size] for at in range(0, len(rows), size))
        ]
        here = settings()
        looker = {
            "root": root,
            "sample": paths[rows[0]],
            "cache": None if here.cache_bucket else self._cache,
            "limits": limits,
            "graph": put(self._ray, self._graph if isinstance(self._graph, bytes) else self._graph.read_bytes()),
            "backbone": replace(self._backbone, path=Path(self._backbone.path.name)),
            "token": token,
            # Read once, here: a node holds them once for all of its actors.
            "store": put(self._ray, store),
            "contents": put(self._ray, self._companion.contents),
        }
        variables = shared_variables() if here.cache_bucket else {}
        with told(self._ray, "The cluster could not look at the pictures"):
            yield from parts(self._ray, _looked, blocks, looker, size, min(self._cores, len(blocks)), variables)

    def _outcomes(self, part: Any) -> Iterator[tuple[int, Outcome]]:
        for row in part.to_pylist():
            self.computed += row["computed"]
            if row["error"] is not None:
                yield row["row"], ImageError(**json.loads(row["error"]))
            else:
                record = np.frombuffer(row["record"], RECORD)[0]
                yield row["row"], Seen(record, is_new=row["is_new"])


def _looked(
    blocks: list[Any], looker: dict[str, Any], size: int, actors: int, variables: dict[str, str]
) -> Iterator[Any]:
    """What the actors make of tables of rows and paths, in any order."""
    looked = (
        ray_data()
        .from_arrow(blocks)
        .map_batches(
            Looker,
            fn_constructor_kwargs=looker,
            batch_size=size,
            batch_format="pyarrow",
            compute=actor_pool(actors),
            num_cpus=1,
            runtime_env={"env_vars": variables} if variables else None,
        )
    )
    yield from looked.iter_batches(batch_size=None, batch_format="pyarrow")


class Looker:
    """On a node: an actor on one core that looks at batches of pictures."""

    def __init__(
        self,
        *,
        root: Path,
        sample: str,
        cache: Path | None,
        limits: Limits,
        graph: Any,
        backbone: ExportedBackbone,
        token: str,
        store: Any,
        contents: Any,
    ) -> None:
        import ray

        if not is_seen(root / sample):
            raise DataError(f"The pictures {_UNSEEN} {socket.gethostname()}.", where=root)
        if cache is None:  # in a bucket: the node has a folder of its own for it
            cache = settings().cache
        elif not (cache / token).exists():
            raise DataError(f"The cache {_UNSEEN} {socket.gethostname()}.", where=cache)
        engine = OnnxEngine(ray.get(graph))
        self._companion = LookCompanion.with_contents(ray.get(contents), cache, backbone, engine)
        self._look = Look(root, limits, ray.get(store), False, self._companion)

    def __call__(self, batch: Any) -> Any:
        """Records and errors of a batch; its features are stored when they are told."""
        import pyarrow

        told: dict[str, list[Any]] = {name: [] for name in ("record", "is_new", "error", "computed")}
        with listening():
            for path in batch["path"].to_pylist():
                before = self._companion.computed
                outcome = self._look(os.fsdecode(path))
                seen = outcome if isinstance(outcome, Seen) else None
                told["record"].append(b"" if seen is None else seen.record.tobytes())
                told["is_new"].append(seen is not None and seen.is_new)
                told["error"].append(_error(outcome) if isinstance(outcome, ImageError) else None)
                told["computed"].append(self._companion.computed - before)
        self._companion.flush()
        return pyarrow.table(
            {
                "row": batch["row"],
                "record": pyarrow.array(told["record"], "binary"),
                "is_new": pyarrow.array(told["is_new"], "bool"),
                "error": pyarrow.array(told["error"], "string"),
                "computed": pyarrow.array(told["computed"], "int64"),
            }
        )


def _error(error: ImageError) -> str:
    fields = {"kind": error.kind, "what": error.what, "where": error.where, "allowed": error.allowed, "do": error.do}
    return json.dumps(fields)
