"""Processes on the nodes of a Ray cluster that train together, by Ray Train."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path
from typing import Any

from vizsla.cluster import Node, connect, is_client, nodes
from vizsla.training.fine_tuning.group import BACKEND
from vizsla.training.fine_tuning.launcher import Launcher, Workers
from vizsla.training.fine_tuning.worker import work

RESTARTS = 3
"""How often the processes are started again where one is lost with its node."""
_RUN = "ray-train"
_END_SECONDS = 30.0


class RayTrain(Launcher):
    """Has Ray Train start processes on the nodes, each with as many cores as leave room for all, and a GPU where there
    are GPUs. Where a process is lost with its node, it starts all of them again, and they go on from the checkpoint.

    Parameters
    ----------
    executor:
        ``ray``, or the address of a cluster.
    folder:
        The job's, which all nodes see: Ray Train keeps there what it knows of a run, as long as that lasts.

    Raises
    ------
    JobError
        When there is no way to the cluster.
    """

    def __init__(self, executor: str, folder: Path) -> None:
        self._ray = connect(executor if "://" in executor else None)
        self._folder = folder.absolute() / _RUN
        self.host = self._ray.util.get_node_ip_address()

    def room(self) -> tuple[int, bool, str]:
        if is_client(self._ray):
            return 1, False, "through ray:// they cannot reach this process; on a node, by RAY_ADDRESS, they can"
        there = nodes(self._ray)
        if (gpus := sum(node.gpus for node in there)) > 0:
            return gpus, True, f"the cluster has {gpus} GPUs"
        cores = sum(node.cpus for node in there)
        return cores, False, f"the cluster has no GPU and {cores} cores"

    def threads(self, processes: int, threads: int) -> int:
        there = nodes(self._ray)
        most = max(node.cpus for node in there)
        return next((each for each in range(most, 1, -1) if _fitting(there, each) >= processes), 1)

    def start(self, processes: int, threads: int, address: tuple[str, int], key: bytes) -> Workers:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer

        logging.getLogger("ray.train").setLevel(logging.ERROR)
        on_gpus = self.room()[1]
        trainer = TorchTrainer(
            _train,
            train_loop_config={"address": address, "key": key},
            torch_config=TorchConfig(backend=BACKEND if on_gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=processes,
                use_gpu=on_gpus,
                resources_per_worker={"CPU": threads, **({"GPU": 1} if on_gpus else {})},
                # GPUs of one node are quick to exchange gradients; processors have no memory to spare for each other.
                placement_strategy="PACK" if on_gpus else "SPREAD",
            ),
            run_config=RunConfig(
                name=_RUN,
                storage_path=str(self._folder),
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        )
        shutil.rmtree(self._folder, ignore_errors=True)  # it would go on with a run that was ended
        return _Run(trainer, self._folder)


class _Run(Workers):
    """Ray Train's run, followed by a thread."""

    def __init__(self, trainer: Any, folder: Path) -> None:
        self._trainer, self._folder, self._error = trainer, folder, ""
        self._thread = threading.Thread(target=self._fit, daemon=True)
        self._thread.start()

    def _fit(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the run
            self._error = (str(error).strip().splitlines() or [type(error).__name__])[-1]

    def over(self) -> bool:
        return not self._thread.is_alive()

    def last_words(self) -> str:
        return self._error

    def close(self) -> None:
        self._thread.join(_END_SECONDS)  # its processes end when nobody answers them
        shutil.rmtree(self._folder, ignore_errors=True)


def _train(config: dict[str, Any]) -> None:
    """In each process."""
    from ray.train.torch import get_device

    work(config["address"], config["key"], get_device())


def _fitting(there: list[Node], cores: int) -> int:
    """How many processes of so many cores there is room for."""
    return sum(node.cpus // cores for node in there)
