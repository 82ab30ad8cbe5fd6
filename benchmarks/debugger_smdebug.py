"""The same overheads of the package smdebug: ``python benchmarks/debugger_smdebug.py MODEL PAIRS BATCH``, by a Python
that has it.

smdebug 1.0.34 needs ``protobuf==3.20.3`` and, with today's numpy, ``tostring()`` in ``core/tfevent/util.py`` replaced
by ``tobytes()``. Its hooks stay on a model, so a second model of the same kind is the one without. Prints JSON: kind to
the overheads of each pair, percent.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main(name: str, pairs: int, batch: int) -> None:
    """Measure and print."""
    import smdebug.pytorch as smd
    import timm
    import torch

    torch.set_num_threads(1)
    loss_of = torch.nn.CrossEntropyLoss
    x, y = torch.randn(batch, 3, 224, 224), torch.arange(batch) % 10

    def made() -> tuple[Any, Any, Any]:
        torch.manual_seed(0)
        net = timm.create_model(name, num_classes=10)
        return net, torch.optim.SGD(net.parameters(), 0.01, momentum=0.9), loss_of()

    def steps(count: int, net: Any, optimizer: Any, criterion: Any) -> float:
        began = time.perf_counter()
        for _ in range(count):
            optimizer.zero_grad()
            loss = criterion(net(x), y)
            loss.backward()
            optimizer.step()
            loss.item()
        return (time.perf_counter() - began) / count

    reductions = smd.ReductionConfig(reductions=["min", "max", "mean", "std"], norms=["l1", "l2"])
    chosen = ["weights", "gradients"]
    kinds: dict[str, tuple[int, float, dict[str, Any]]] = {
        "losses every step": (4, 1.0, {"save_config": smd.SaveConfig(save_interval=1)}),
        "statistics every 10 steps": (
            10,
            1.0,
            {
                "save_config": smd.SaveConfig(save_interval=10),
                "include_collections": chosen,
                "reduction_config": reductions,
            },
        ),
        "tensors every 100 steps": (
            10,
            0.1,
            {"save_config": smd.SaveConfig(save_interval=10), "include_collections": chosen},
        ),
    }
    result = {}
    for kind, (count, share, options) in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            plain, watched = made(), made()
            hook = smd.Hook(out_dir=str(Path(folder, "out")), **options)
            hook.register_module(watched[0])
            hook.register_loss(watched[2])
            hook.set_mode(smd.modes.TRAIN)
            steps(2, *plain)
            steps(count, *watched)
            pairs_of = [(steps(count, *plain), steps(count, *watched)) for _ in range(pairs)]
            result[kind] = [100 * share * (on / off - 1) for off, on in pairs_of]
            hook.close()
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
