"""Seeing when a module is called, without a trace on the module itself.

A hook registered on a module is saved with the module (``torch.save`` of a whole model fails for a hook that cannot be
pickled) and compiled with it (``torch.jit.script``). So the call is observed on the class, for chosen instances only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

Before = Callable[[tuple[Any, ...]], None]
After = Callable[[tuple[Any, ...], Any], None]

_observers: dict[int, tuple[Any, Before, After]] = {}
"""By the module's id; the module is kept, so that the id stays its own."""
_classes: dict[type, Callable[[Any], tuple[Before, After] | None]] = {}


def observe(
    module: Any,
    before: Before = lambda args: None,
    after: After = lambda args, output: None,
) -> None:
    """Call ``before(args)`` and ``after(args, output)`` around every call of this module. One that is given by
    keywords has its values in ``args`` too, in the order of the call."""
    _observers[id(module)] = (module, before, after)
    observe_class(type(module))


def observe_class(kind: type, every: Callable[[Any], tuple[Before, After] | None] = lambda module: None) -> None:
    """Prepare a class for :func:`observe`; ``every`` gives what is called for those that nobody chose."""
    if any(known in _classes for known in kind.__mro__):  # a base that is observed hands its way of calling down
        return
    _classes[kind] = every
    original: Any = kind.__call__

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        chosen = _observers.get(id(self))
        found = every(self) if chosen is None else chosen[1:]
        if found is None or is_compiling():
            return original(self, *args, **kwargs)
        given = (*args, *kwargs.values())
        found[0](given)
        output = original(self, *args, **kwargs)
        found[1](given, output)
        return output

    kind.__call__ = call  # type: ignore[method-assign]


def forget(module: Any) -> None:
    """Observe this module no longer."""
    _observers.pop(id(module), None)


def is_compiling() -> bool:
    """Whether torch traces what runs now: then nothing is observed."""
    import torch

    return bool(torch.compiler.is_compiling())
