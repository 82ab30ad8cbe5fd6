"""A backbone cut in two: a trunk that is run once, and a tail that trains. Imports torch.

The network is traced (torch.fx), and a cut is any place where one tensor alone passes from what is before to what is
after: so it needs no knowledge of an architecture.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from vizsla.errors import ModelError, UsageError
from vizsla.models.backbone import TorchBackbone
from vizsla.parameters import spelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LEAST_SHARE = 0.01
"""Behind a place with less there is nothing to train."""
_MOST_SHARE = 0.35
"""Of the operations, behind a cut that is chosen for a person."""
_MODULE = "module."


class Features(nn.Module):  # type: ignore[misc]
    """A backbone as one function: normalised pictures (n, 3, size, size) to features (n, d)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def named_weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters by name, but those of the classifier that the backbone came with."""
        own = {id(parameter) for parameter in self.module.get_classifier().parameters()}
        yield from ((name, p) for name, p in self.named_parameters() if id(p) not in own)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.module.forward_head(self.module.forward_features(pixels), pre_logits=True)
        return features


@dataclass(frozen=True)
class Cut:
    """A place where a backbone can be cut: before the block ``place``.

    ``share`` is the part of a forward pass's operations that lies behind it, ``shape`` that of one picture's
    activations there.
    """

    place: str
    share: float
    shape: tuple[int, ...]

    @property
    def bytes(self) -> int:
        """Of one picture's activations, as float16."""
        return 2 * math.prod(self.shape)


def choose_cut(cuts: Sequence[Cut], place: str | None) -> Cut:
    """The cut before the block ``place``; by default the first behind which about a third of the operations lies.

    Raises
    ------
    UsageError
        When the backbone has no such place.
    ModelError
        When it has none in its last third.
    """
    if place is not None:
        match = next((cut for cut in cuts if cut.place == place), None)
        if match is None:
            raise UsageError(
                f"The backbone has no block {place!r} to be cut before.",
                parameter="cut",
                allowed=", ".join(cut.place for cut in cuts),
            )
        return match
    late = [cut for cut in cuts if cut.share <= _MOST_SHARE]
    if not late:
        raise ModelError(
            "This backbone cannot be cut before its last third.", do=f"train all of it: {spelled('depth', 'full')}"
        )
    return max(late, key=lambda cut: cut.share)


def trace(network: nn.Module) -> fx.Graph:
    """The way that pictures take through a network in evaluation mode, as timm's networks can be traced.

    Raises
    ------
    ModelError
        When the way depends on the pictures.
    """
    try:
        return _Tracer().trace(network)
    except Exception as error:  # what a network's code may raise when it is traced has no common class
        raise ModelError(
            f"This backbone cannot be cut: torch.fx cannot trace it ({str(error).splitlines()[0]}).",
            do=f"train the head alone, or all of it: {spelled('depth', 'head')} or {spelled('depth', 'full')}",
        ) from error


class _Tracer(fx.Tracer):  # type: ignore[misc]
    def __init__(self) -> None:
        import timm.models

        super().__init__(autowrap_functions=tuple(timm.models.get_notrace_functions()))
        self._leaves = tuple(timm.models.get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or isinstance(m, self._leaves)


class DividedBackbone:
    """A backbone with the places where it can be cut. Its parts share their weights with it.

    Raises
    ------
    ModelError
        When the network's way depends on its pictures, so that it cannot be traced.

    Examples
    --------
    >>> divided = DividedBackbone(load_backbone(BackboneSpec.resolve("resnet18")))  # doctest: +SKIP
    >>> [cut.place for cut in divided.cuts]  # doctest: +SKIP
    ['layer1.0', 'layer1.1', ..., 'layer4.1']
    >>> trunk, tail = divided.split("layer4.0")  # doctest: +SKIP
    """

    def __init__(self, backbone: TorchBackbone) -> None:
        self.backbone = backbone
        self.features = Features(backbone.module).eval()
        self._graph = trace(self.features)
        self._nodes = list(self._graph.nodes)
        self._at = _places(self._nodes)
        self.cuts = self._costs()

    def split(self, place: str) -> tuple[nn.Module, nn.Module]:
        """What lies before the block ``place``, and what begins with it.

        Raises
        ------
        UsageError
            When the backbone has no such place.
        """
        choose_cut(self.cuts, place)
        last = self._at[place]
        position = self._nodes.index(last)
        trunk, tail = fx.Graph(), fx.Graph()
        copies: dict[fx.Node, fx.Node] = {}
        for node in self._nodes[: position + 1]:
            copies[node] = trunk.node_copy(node, lambda n: copies[n])
        trunk.output(copies[last])
        inside: dict[fx.Node, fx.Node] = {last: tail.placeholder("activations")}

        def needed(node: fx.Node) -> fx.Node:
            if node not in inside:  # a parameter that is read before the cut and used after it
                inside[node] = tail.node_copy(node, needed)
            return inside[node]

        for node in self._nodes[position + 1 :]:
            inside[node] = tail.node_copy(node, needed)
        parts = []
        for graph in (trunk, tail):
            module = fx.GraphModule(self.features, graph)
            module.graph.eliminate_dead_code()
            module.recompile()
            parts.append(module)
        return parts[0], parts[1]

    def _costs(self) -> tuple[Cut, ...]:
        """The operations behind each place, and the shape there, by one pass that counts node by node."""
        size = self.backbone.preprocessing.size
        counter = _Counter(fx.GraphModule(self.features, self._graph))
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counter.run(torch.zeros(1, 3, size, size))
        total = sum(counter.operations) or 1
        cuts = []
        for place, node in self._at.items():
            behind = sum(counter.operations[self._nodes.index(node) + 1 :]) / total
            if behind >= _LEAST_SHARE:
                cuts.append(Cut(place, behind, counter.shapes[node.name]))
        self._at = {cut.place: self._at[cut.place] for cut in cuts}
        return tuple(cuts)


@lru_cache(maxsize=1)
def divide(backbone: TorchBackbone) -> DividedBackbone:
    """The places of a backbone, found once: planning, costs and stages ask for them in turn.

    Raises
    ------
    ModelError
        As :class:`DividedBackbone`.
    """
    return DividedBackbone(backbone)


class _Counter(fx.Interpreter):  # type: ignore[misc]
    """Runs a traced network node by node, and notes operations and shapes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.operations: list[int] = []
        self.shapes: dict[str, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        with FlopCounterMode(display=False) as counter:
            result = super().run_node(n)
        self.operations.append(counter.get_total_flops())
        if isinstance(result, torch.Tensor):
            self.shapes[n.name] = tuple(result.shape[1:])
        return result


def _places(nodes: Sequence[fx.Node]) -> dict[str, fx.Node]:
    """The node after which one tensor alone is needed, by the block that comes next."""
    order = {node: at for at, node in enumerate(nodes)}
    last_use = {node: max((order[user] for user in node.users), default=-1) for node in nodes}
    needed: set[fx.Node] = set()
    places: dict[str, fx.Node] = {}
    for at, node in enumerate(nodes):
        needed = {other for other in needed if last_use[other] > at}
        if node.op == "get_attr":
            continue
        if last_use[node] > at:
            needed.add(node)
        if needed != {node} or node.op == "placeholder" or at + 1 >= len(nodes):
            continue
        before, after = _block(node), next((block for n in nodes[at + 1 :] if (block := _block(n))), "")
        if after and before not in ("", after):
            places[after] = node
    return places


def _block(node: fx.Node) -> str:
    """The block that a node belongs to, by two parts of its module's name: ``blocks.5``, ``layer4.0``."""
    stack = node.meta.get("nn_module_stack") or {}
    names = [str(name) for name in stack if str(name).startswith(_MODULE)]
    if not names:
        return ""
    return ".".join(max(names, key=len).removeprefix(_MODULE).split(".")[:2])
