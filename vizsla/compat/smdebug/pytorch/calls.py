"""Seeing when a module is called, without a trace on the module itself.

A hook registered on a module is saved with the module (``torch.save`` of a whole model fails for a hook that cannot be
pickled) and compiled with it (``torch.jit.script``). So the call is observed on the class, for chosen instances only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_observers: dict[int, tuple[Any, Callable[[], None], Callable[[Any], None]]] = {}
"""By the module's id; the module is kept, so that the id stays its own."""
_classes: set[type] = set()


def observe(
    module: Any, before: Callable[[], None] = lambda: None, after: Callable[[Any], None] = lambda output: None
) -> None:
    """Call ``before()`` and ``after(output)`` around every call of this module."""
    _observers[id(module)] = (module, before, after)
    kind: Any = type(module)
    if any(known in _classes for known in kind.__mro__):  # a base that is observed hands its way of calling down
        return
    _classes.add(kind)
    original = kind.__call__

    @functools.wraps(original)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = _observers.get(id(self))
        if found is None:
            return original(self, *args, **kwargs)
        found[1]()
        output = original(self, *args, **kwargs)
        found[2](output)
        return output

    kind.__call__ = call
