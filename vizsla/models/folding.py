"""A network whose batch normalisation keeps its statistics, with each of them folded into the convolution before it.

Such a normalisation is a scale and a shift of each channel: on weights it costs next to nothing, on activations a pass
over memory forward and two backward. Gradients reach the same parameters as before. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from timm.layers import BatchNormAct2d
from torch import fx, nn
from torch.nn import functional

from vizsla.errors import ModelError
from vizsla.models.trunk import trace

Pass = Callable[[torch.Tensor], torch.Tensor]


def folded(body: nn.Module) -> Pass:
    """What ``body`` computes in evaluation mode, by its own parameters and modules: as they are now, wherever they are.
    It is ``body`` itself where nothing can be folded, or where it cannot be traced.

    Examples
    --------
    >>> body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    >>> pixels = torch.randn(2, 3, 16, 16)
    >>> torch.allclose(folded(body)(pixels), body(pixels), atol=1e-5)
    True
    """
    own: Pass = body.__call__
    try:
        graph = body.graph if isinstance(body, fx.GraphModule) else trace(body)
    except ModelError:
        return own
    modules = dict(body.named_modules())
    result, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    pairs = {conv: norm for conv in graph.nodes if (norm := _norm_after(conv, modules)) is not None}
    for node in graph.nodes:
        if node in pairs:
            copies[pairs[node]] = _fold(result, node, pairs[node], copies, modules)
        elif node not in copies:
            copies[node] = result.node_copy(node, lambda other: copies[other])
    if not pairs:
        return own
    whole: Pass = fx.GraphModule(body, result).forward
    return whole


def _norm_after(node: fx.Node, modules: dict[str, nn.Module]) -> fx.Node | None:
    """The normalisation that alone takes what a convolution gives."""
    after = next(iter(node.users)) if len(node.users) == 1 else None
    if after is None or node.op != "call_module" or after.op != "call_module":
        return None
    conv, norm = modules[str(node.target)], modules[str(after.target)]
    fits = type(conv) is nn.Conv2d and conv.padding_mode == "zeros"
    fits = fits and type(norm) in (nn.BatchNorm2d, BatchNormAct2d)
    return after if fits and norm.affine and norm.track_running_stats else None


def _fold(
    graph: fx.Graph, conv: fx.Node, norm: fx.Node, copies: dict[fx.Node, fx.Node], modules: dict[str, nn.Module]
) -> fx.Node:
    """Both as one node, and what the normalisation does after it."""
    own, statistics = modules[str(conv.target)], modules[str(norm.target)]
    weights = [graph.get_attr(f"{conv.target}.weight"), None]
    if own.bias is not None:
        weights[1] = graph.get_attr(f"{conv.target}.bias")
    names = ("weight", "bias", "running_mean", "running_var")
    normal = [graph.get_attr(f"{norm.target}.{name}") for name in names]
    where = own.stride, own.padding, own.dilation, own.groups
    node = graph.call_function(_convolve, (copies[conv.args[0]], *weights, *normal, statistics.eps, *where))
    for name in ("drop", "act") if isinstance(statistics, BatchNormAct2d) else ():
        node = graph.call_module(f"{norm.target}.{name}", (node,))
    return node


def _convolve(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    gamma: torch.Tensor,
    beta: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    eps: float,
    *where: Any,
) -> torch.Tensor:
    """A convolution (stride, padding, dilation and groups in ``where``), then Ioffe and Szegedy, arXiv:1502.03167,
    algorithm 2."""
    scale = gamma * (variance + eps).rsqrt()
    shift = beta - mean * scale if bias is None else beta + (bias - mean) * scale
    return functional.conv2d(x, weight * scale.view(-1, 1, 1, 1), shift, *where)
