"""What a call of a loss tells: its value, the labels, what was predicted, and in which form the predictions came."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from vizsla.debugging.calls import After, Before, is_compiling, observe_class
from vizsla.debugging.recorder import Recorder

FUNCTIONS = (
    "cross_entropy",
    "nll_loss",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "mse_loss",
    "l1_loss",
    "smooth_l1_loss",
)
"""Of ``torch.nn.functional``: what scripts call where they have no module for the loss."""
_OF_CLASSES = re.compile(r"entropy|bce", re.IGNORECASE)
"""Losses that are given, where not the class itself, a share for each class. A teacher's answers (KLDivLoss, MSELoss)
are no labels."""
_NEAR_ONE = 0.02
_LOSS = re.compile(r"Loss|CrossEntropy|Criterion")
"""In the name of a class of modules that is a loss, though not one of torch's."""


def record_batch(recorder: Recorder, kind: str, args: tuple[Any, ...], output: Any) -> None:
    """Rows for the rules of one call ``kind(logits, labels)``: classes are float32, first the labels, then what was
    predicted. The label is NaN of a picture that is not of one class: of several or of none, or not counted by the
    loss. Labels that are numbers for each class (mixed pictures, smoothed ones) are of the likeliest."""
    import torch

    tensors = [a.detach() for a in args[:2] if hasattr(a, "detach")]
    if len(tensors) < 2:
        return
    logits, labels = tensors
    if logits.ndim != 2 or logits.shape[1] < 2 or not len(logits):
        return
    n, classes = logits.shape
    if labels.shape == logits.shape:
        if not _OF_CLASSES.search(kind):
            return
        is_one = ((labels.sum(1) - 1).abs() < _NEAR_ONE) & (labels >= 0).all(1)
        labels = labels.argmax(1)
    elif labels.shape == (n,):
        is_one = labels >= 0
    else:
        return
    classes_of = torch.where(is_one, labels.to(torch.float32), torch.nan)
    values = torch.cat([classes_of, logits.argmax(1).to(torch.float32)])
    recorder.row("predictions", "predictions", values, n, shape=f"{n},{classes}")
    if recorder.is_watched_step:
        logits = logits.float()
        sums = (logits.sum(1) - 1).abs().max()
        exponentials = (logits.exp().sum(1) - 1).abs().max()
        ratio = output.detach().float().mean()
        recorder.row(kind, "loss_input", torch.stack([sums, exponentials, logits.min(), logits.max(), ratio]), n)


def observe_losses(
    around: Callable[[Any], tuple[Before, After] | None], called: Callable[[Any, str, tuple[Any, ...], Any, str], None]
) -> None:
    """See the losses that nobody registers: modules by their class (torch's, and others whose name says it, such as
    timm's), and calls of ``torch.nn.functional``; each once in a process.

    Parameters
    ----------
    around:
        Gives what is called around a loss module, if anything is.
    called:
        Told function, name, arguments, output and reduction of a function.
    """
    import torch
    from torch.nn.modules.loss import _Loss

    observe_class(_Loss, around)
    for kind in _modules(torch.nn.Module):
        if _LOSS.search(kind.__name__) and not issubclass(kind, _Loss):
            observe_class(kind, around)
    for name in FUNCTIONS:
        original = getattr(torch.nn.functional, name)
        if not hasattr(original, "_is_observed"):
            setattr(torch.nn.functional, name, _observed(original, name, called))


def _modules(kind: type[Any]) -> Iterator[type[Any]]:
    own: type[Any]
    for own in kind.__subclasses__():
        yield own
        yield from _modules(own)


def _observed(original: Callable[..., Any], name: str, called: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        output = original(*args, **kwargs)
        if not is_compiling():
            given = (*args, *(kwargs[key] for key in ("input", "target") if key in kwargs))
            called(call, name, given, output, kwargs.get("reduction", "mean"))
        return output

    call._is_observed = True  # type: ignore[attr-defined]
    return call


def is_observed(function: Any) -> bool:
    """Whether it is a function of torch whose calls are seen."""
    return hasattr(function, "_is_observed")


def replace_function(function: Any, called: Callable[[str, tuple[Any, ...], Any], None]) -> bool:
    """Put in the place of a function one that tells of its calls: in the module that defines it and in the main one.

    Returns
    -------
    Whether it was found there.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        output = function(*args, **kwargs)
        called(function.__name__, (*args, *kwargs.values()), output)
        return output

    spaces = [getattr(function, "__globals__", {}), vars(sys.modules["__main__"])]
    places = [(space, name) for space in spaces for name, value in list(space.items()) if value is function]
    for space, name in places:
        space[name] = call
    return bool(places)
