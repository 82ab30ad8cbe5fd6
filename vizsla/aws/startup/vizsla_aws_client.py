"""Changes to AWS's own clients, made in a command of ``vizsla aws run`` only, when a module is first imported.

- ``botocore.session``: the SageMaker SDK gives its STS client AWS's own address, which beats every variable.
- ``sagemaker.session`` and the like: its clock. It sleeps 30 s before it looks at an endpoint that was there in two.
- ``botocore.waiter``: it looks more often, and gives up after the same time.
- ``sagemaker.local.local_session``: local mode wants a container engine; here everything is local.
- ``sagemaker.utils`` and the like: a tuning job is named by the minute. Here the next one starts in the same minute.
- ``botocore.configprovider``: it tells of each client, at the level of notebooks, where it found its address.
- ``awscli.customizations.s3.subcommands``: ``aws s3 sync`` asks for a list before its first put makes the bucket.
- ``smdebug``: Vizsla's, which reads what Vizsla's jobs recorded.

Nothing but the standard library: this runs in any Python that a person starts.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_SHORTEST, _SHARE, _PAUSE = 0.1, 0.05, 5.0


class Clock:
    """Stands for the module ``time``: sleeps less, and its time runs on by what was not slept (``runs_on``) for those
    who look at something every 30 s, but not for those who give up after a time.

    A sleep takes a twentieth of what the whole wait has taken so far, at least 0.1 s and at most what is asked for. A
    wait is over when nobody sleeps for 5 s.
    """

    def __init__(self, runs_on: bool = True) -> None:
        self._runs_on, self._skipped = runs_on, 0.0
        self._began = self._last = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        """Seconds since 1970, and what was skipped."""
        return time.time() + self._skipped

    def sleep(self, seconds: float) -> None:
        """Sleep as long as is worth while."""
        now = time.monotonic()
        if now - self._last > _PAUSE:
            self._began = now
        nap = _nap(seconds, now - self._began)
        time.sleep(nap)
        self._last = time.monotonic()
        if self._runs_on:
            self._skipped += seconds - nap


def _nap(seconds: float, waited: float) -> float:
    return min(seconds, max(_SHORTEST, _SHARE * waited))


def _redirect(module: ModuleType) -> None:
    create_client = module.Session.create_client

    def create(self: Any, *arguments: Any, **options: Any) -> Any:
        address = options.get("endpoint_url")
        if address and address.rstrip("/").endswith((".amazonaws.com", ".api.aws")):
            options["endpoint_url"] = None
        return create_client(self, *arguments, **options)

    module.Session.create_client = create


def _use_clock(module: ModuleType) -> None:
    module.time = Clock()  # type: ignore[attr-defined]


def _sleep_less(module: ModuleType) -> None:
    module.time = Clock(runs_on=False)  # type: ignore[attr-defined]


def _look_more_often(module: ModuleType) -> None:
    """A waiter counts its looks: it has as many as fit into the time that it would have waited."""
    _sleep_less(module)
    wait = module.Waiter.wait

    def wait_as_long(self: Any, **arguments: Any) -> Any:
        config = dict(arguments.get("WaiterConfig") or {})
        delay = float(config.get("Delay", self.config.delay))
        most = int(config.get("MaxAttempts", self.config.max_attempts))
        waited, naps = 0.0, 0
        while waited < delay * (most - 1):
            waited, naps = waited + _nap(delay, waited), naps + 1
        config["MaxAttempts"] = max(most, naps + 1)
        return wait(self, **arguments | {"WaiterConfig": config})

    module.Waiter.wait = wait_as_long


def _no_containers(module: ModuleType) -> None:
    """``instance_type="local"`` runs on this machine by the same calls as any other."""

    class LocalSession(module.Session):  # type: ignore[name-defined,misc]
        def __init__(self, boto_session: Any = None, *_: Any, **options: Any) -> None:
            super().__init__(boto_session=boto_session)
            self.config = None

        def _intercept_create_request(self, request: Any, create: Any, func_name: str | None = None) -> Any:
            for channel in request.get("InputDataConfig") or []:
                file = channel["DataSource"].pop("FileDataSource", None)
                if file is not None:
                    channel["DataSource"]["S3DataSource"] = {"S3DataType": "S3Prefix", "S3Uri": file["FileUri"]}
            return super()._intercept_create_request(request, create, func_name)

    module.LocalSession = LocalSession  # type: ignore[attr-defined]


def _name_by_the_second(module: ModuleType) -> None:
    module.sagemaker_short_timestamp = lambda: time.strftime("%y%m%d-%H%M%S")  # type: ignore[attr-defined]


def _be_quiet(module: ModuleType) -> None:
    logging.getLogger(module.__name__).setLevel(logging.WARNING)


def _sync_makes_buckets(module: ModuleType) -> None:
    """As a put does: a notebook that brings its pictures by ``aws s3 sync`` names a bucket of its author's."""
    command = module.SyncCommand
    run = command._run_main

    def run_main(self: Any, parsed_args: Any, parsed_globals: Any) -> Any:
        target = str(parsed_args.paths[-1])
        if target.startswith("s3://") and not parsed_args.dryrun and not parsed_globals.endpoint_url:
            s3 = self._session.create_client("s3")
            try:
                s3.create_bucket(Bucket=target[len("s3://") :].partition("/")[0])
            except Exception as error:  # noqa: BLE001 - the command itself tells what is wrong with the name
                logging.getLogger(__name__).debug("%s", error)
        return run(self, parsed_args, parsed_globals)

    command._run_main = run_main


_CHANGES: dict[str, Callable[[ModuleType], None]] = {
    "botocore.session": _redirect,
    "botocore.configprovider": _be_quiet,
    "botocore.waiter": _look_more_often,
    "sagemaker.session": _use_clock,
    "sagemaker.core.resources": _sleep_less,
    "sagemaker.core.helper.session_helper": _use_clock,
    "sagemaker.train.common_utils.trainer_wait": _sleep_less,
    "sagemaker_core.main.resources": _sleep_less,
    "sagemaker.utils": _name_by_the_second,
    "sagemaker.core.common_utils": _name_by_the_second,
    "sagemaker.local.local_session": _no_containers,
    "awscli.customizations.s3.subcommands": _sync_makes_buckets,
}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that are changed, and lets them be changed after they were loaded."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in _CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        spec.loader = _Loader(spec.loader, _CHANGES[name])
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader, self._change = loader, change

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        try:
            self._change(module)
        except Exception as error:  # noqa: BLE001 - another version: the notebook runs as it would without
            print(f"vizsla: {module.__name__} could not be changed: {error}", file=sys.stderr)


def install() -> None:
    """Let the changes be made, and ``import smdebug`` find Vizsla's."""
    sys.meta_path.insert(0, _Finder())
    package = os.path.abspath(os.path.join(__file__, "..", "..", ".."))
    places = [os.path.join(package, "compat")]
    if importlib.util.find_spec("vizsla") is None:
        places.append(os.path.dirname(package))
    sys.path[1:1] = places
