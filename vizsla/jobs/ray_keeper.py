"""The one actor of Vizsla in a cluster: it owns the tasks of jobs, so that these outlive whoever submitted them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from vizsla.cluster import NAMESPACE, ON_HEAD
from vizsla.errors import JobError
from vizsla.jobs.ray_attempt import run_attempt
from vizsla.version import VERSION

UNKNOWN, STOPPED, CRASHED = "unknown", "stopped", "crashed"
"""How a task ended, besides in words: it was never here, was cancelled, or was lost as often as it may be."""
_MANY = 10_000
_CANCEL_SECONDS = 1.0
_ANSWER_SECONDS = 60.0


class Keeper:
    """Lives in the cluster, on its head. A task ends with its owner, and this one ends with the cluster."""

    def __init__(self) -> None:
        self._tasks: dict[str, Any] = {}

    def submit(self, path: str, task: dict[str, Any], options: dict[str, Any]) -> None:
        """Hand a job to Ray, which starts it when there is room."""
        import ray

        if len(self._tasks) >= _MANY:  # of most nobody asks: what they left in their directories tells more
            _, left = ray.wait(list(self._tasks.values()), num_returns=len(self._tasks), timeout=0)
            kept = set(left)
            self._tasks = {known: task for known, task in self._tasks.items() if task in kept}
        self._tasks[path] = ray.remote(run_attempt).options(**options).remote(task)

    def cancel(self, path: str, force: bool) -> None:
        """Let a job that waits never begin; ask one that has begun to end; with ``force``, end its process."""
        import ray

        if (task := self._tasks.get(path)) is not None:
            ray.cancel(task, force=force)
            ray.wait([task], timeout=_CANCEL_SECONDS)

    def ended(self, paths: Sequence[str]) -> dict[str, str]:
        """Of these jobs those whose tasks are over, and why: words, or one of those above. Each is told once."""
        import ray

        result = {path: UNKNOWN for path in paths if path not in self._tasks}
        waiting = {self._tasks[path]: path for path in paths if path in self._tasks}
        over, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0) if waiting else ([], [])
        for task in over:
            result[waiting[task]] = _end(task)
            del self._tasks[waiting[task]]
        return result


def _end(task: Any) -> str:
    import ray
    from ray import exceptions

    try:
        return str(ray.get(task))
    except exceptions.TaskCancelledError:
        return STOPPED
    except (exceptions.RayTaskError, exceptions.RuntimeEnvSetupError) as error:
        return f"its node could not begin it: {str(error).strip().splitlines()[-1]}"
    except exceptions.RayError:
        return CRASHED


class Keepers:
    """The keepers of a cluster, from outside: one of each version of Vizsla that has submitted jobs."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        self._keepers: dict[str, Any] = {}
        self._of(VERSION)

    def submit(self, path: str, task: dict[str, Any], options: dict[str, Any]) -> None:
        """See :meth:`Keeper.submit`; the keeper is that of this version."""
        self._ask(self._of(VERSION).submit.remote(path, task, options))

    def cancel(self, path: str, version: str, *, force: bool = False) -> None:
        """See :meth:`Keeper.cancel`."""
        self._ask(self._of(version).cancel.remote(path, force))

    def ended(self, paths: Sequence[str], version: str) -> dict[str, str]:
        """See :meth:`Keeper.ended`."""
        answer: dict[str, str] = self._ask(self._of(version).ended.remote(list(paths)))
        return answer

    def _of(self, version: str) -> Any:
        if version not in self._keepers:
            options = self._ray.remote(Keeper).options(
                name=f"keeper-{version}",
                namespace=NAMESPACE,
                lifetime="detached",
                get_if_exists=True,
                max_restarts=-1,
                max_task_retries=-1,
                **ON_HEAD,
            )
            self._keepers[version] = options.remote()
        return self._keepers[version]

    def _ask(self, question: Any) -> Any:
        exceptions = self._ray.exceptions
        try:
            return self._ray.get(question, timeout=_ANSWER_SECONDS)
        except (exceptions.RayError, ConnectionError, TimeoutError) as error:
            with contextlib.suppress(Exception):
                self._ray.cancel(question)
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise JobError(
                f"The Ray cluster does not answer: {said[-1]}",
                do="see whether it is up (`ray status`) and its nodes have the same version of Vizsla installed; jobs "
                "that it has begun are gone on with by `vizsla jobs resume JOB`",
            ) from error
