"""A training loop with other settings: of its loader, and of what is done around its calls. Imports torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader


def rebuilt(loader: Any, batches: Sequence[Any], settings: dict[str, Any]) -> Any:
    """A loader of the same data with other settings, over the given batches of indices."""
    workers = int(settings.get("num_workers", loader.num_workers))
    more: dict[str, Any] = {}
    if workers:
        more["prefetch_factor"] = settings.get("prefetch_factor") or loader.prefetch_factor or 2
        more["multiprocessing_context"] = loader.multiprocessing_context
    return DataLoader(
        loader.dataset,
        batch_sampler=list(batches),
        num_workers=workers,
        collate_fn=loader.collate_fn,
        pin_memory=bool(settings.get("pin_memory", loader.pin_memory)),
        timeout=loader.timeout if workers else 0,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        **more,
    )


class LoopSettings:
    """What is done around the outermost calls of modules; as it was when nothing is asked."""

    def __init__(self) -> None:
        self._settings: dict[str, Any] = {}
        self._threads = torch.get_num_threads()
        self._compiled: dict[int, Any] = {}
        self._turned: dict[int, list[torch.nn.Parameter]] = {}
        """Of a module in another layout: the parameters that were not in it before."""

    def use(self, settings: dict[str, Any]) -> None:
        """From the next call on."""
        self._settings = settings
        torch.set_num_threads(int(settings.get("threads", self._threads)))

    def call(self, original: Callable[..., Any], module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a module as the settings say."""
        settings = self._settings
        wanted, turned = bool(settings.get("channels_last")), id(module) in self._turned
        if wanted and not turned:
            self._turned[id(module)] = [p for p in module.parameters() if p.ndim == 4 and p.is_contiguous()]
            _lay_out(self._turned[id(module)], torch.channels_last)
        elif turned and not wanted:
            _lay_out(self._turned.pop(id(module)), torch.contiguous_format)
        if wanted:
            args = tuple(
                a.contiguous(memory_format=torch.channels_last) if isinstance(a, torch.Tensor) and a.ndim == 4 else a
                for a in args
            )
        run: Callable[..., Any] = functools.partial(original, module)
        if settings.get("compile") and any(True for _ in module.parameters()):
            run = self._compiled.setdefault(id(module), torch.compile(module))
        if settings.get("precision") != "bfloat16":
            return run(*args, **kwargs)
        device = next((a.device.type for a in args if isinstance(a, torch.Tensor)), "cpu")
        with torch.autocast(device, torch.bfloat16):
            output = run(*args, **kwargs)
        return output.float() if isinstance(output, torch.Tensor) and output.dtype is torch.bfloat16 else output


def _lay_out(parameters: Sequence[torch.nn.Parameter], layout: torch.memory_format) -> None:
    for parameter in parameters:
        parameter.data = parameter.data.contiguous(memory_format=layout)
