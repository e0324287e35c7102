"""The same network in a form in which an attribution method's hooks are right.

Hooks see modules only. A `+` between two branches, a ReLU called as a function, or one ReLU module that is used three times
is hidden from them, and the maps come out wrong without a word. So the network is traced (torch.fx) and written anew:
`as_steps` for relevance propagation, where each operation is a module; `with_own_nonlinearities` for DeepLIFT, where each
nonlinearity is one. Both answer as the original does, which is compared before they are handed out, and leave it alone.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from ..model import BagNet

SAME = 1e-4  # of the largest logit: two orders above what float32 loses where sums are taken in another order


class NotRewritable(ValueError):
    """The network does something for which a method has no rule, or cannot be traced."""


def name_of(network: nn.Module) -> str:
    """What a network is called in messages: as its card says, or its class."""
    card = getattr(network, "card", None)
    return card.name if card is not None and hasattr(card, "name") else type(network).__name__


class Step(nn.Module):
    """One operation as a module, with tensors in and one tensor out.

    Args:
        operation: a function or a module. A module is not registered as a child: the hooks are to see this step alone.
        args: its arguments, with a `Slot` for each that is computed in the network.
        kwargs: likewise.
        nonlinear: relevance passes through unchanged, as through every elementwise activation.
    """

    def __init__(self, operation: Callable[..., Any], args: Any, kwargs: Any, nonlinear: bool = False) -> None:
        super().__init__()
        self.hidden = (operation, args, kwargs)  # in a tuple, or torch registers the module
        self.nonlinear = nonlinear
        self.feeds_nonlinearity = False
        self.numbers: dict[str, Any] = {}

    def forward(self, *tensors: Tensor, **numbers: Any) -> Tensor:
        self.numbers = numbers
        operation, args, kwargs = self.hidden

        def filled(value: Any) -> Any:
            if not isinstance(value, Slot):
                return value
            return tensors[value.place] if isinstance(value.place, int) else numbers[value.place]

        result: Tensor = operation(*fx.node.map_aggregate(args, filled), **fx.node.map_aggregate(kwargs, filled))
        return result

    @torch.no_grad()
    def at_zero(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """What the operation adds of its own (its bias): its answer to zeros instead of `inputs`, which give the shapes."""
        one_row = not self.numbers  # sizes among the arguments may hold the number of images
        return self.forward(*(torch.zeros_like(x[:1] if one_row else x) for x in inputs), **self.numbers)


class Slot:
    """An argument that is filled in when the network runs: the rank of the tensor, or a number's position."""

    def __init__(self, position: int | str) -> None:
        self.place = position


class ReLU6AsDifference(nn.Module):
    """ReLU6 as relu(x) - relu(x - 6), whose parts DeepLIFT knows; their contributions add up to its Rescale rule's for ReLU6."""

    def __init__(self) -> None:
        super().__init__()
        self.low, self.high = nn.ReLU(), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        low: Tensor = self.low(x.clone())  # a hook replaces all of its input's gradient, so each has an input of its own
        high: Tensor = self.high(x - 6)
        return low - high


class SeparateWindows(nn.Module):
    """Max pooling whose windows share no pixel: each is copied out first. (B, C, H, W) -> (B, C, h, w).

    captum sends a maximum's contribution back by max_unpool, which keeps one of several windows with the same maximum and
    so loses the others: with overlapping windows DeepLIFT's maps would not be complete.

    Args:
        pool: what this is equal to.
    """

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.kernel, self.stride = _pair(pool.kernel_size), _pair(pool.stride)
        self.padding, self.dilation, self.ceil_mode = _pair(pool.padding), _pair(pool.dilation), pool.ceil_mode
        self.pool = nn.MaxPool2d(self.kernel)

    def forward(self, x: Tensor) -> Tensor:
        for axis in (0, 1):
            x = x.index_select(axis + 2, self._pixels(axis, x.shape[axis + 2]).to(x.device))
        pooled: Tensor = self.pool(x)
        return pooled

    def _pixels(self, axis: int, length: int) -> Tensor:
        """Which pixels the windows see, one window after the other."""
        kernel, stride, padding, dilation = (pair[axis] for pair in (self.kernel, self.stride, self.padding, self.dilation))
        room = length + 2 * padding - dilation * (kernel - 1) - 1
        windows = (-(-room // stride) if self.ceil_mode else room // stride) + 1
        if self.ceil_mode and (windows - 1) * stride >= length + padding:  # as torch: no window begins in the padding behind
            windows -= 1
        seen = torch.arange(windows)[:, None] * stride - padding + torch.arange(kernel) * dilation
        inside = (seen >= 0) & (seen < length)
        first = seen.gather(1, inside.int().argmax(1, keepdim=True))  # a pixel seen twice does not change the maximum
        return torch.where(inside, seen, first).flatten()


def as_steps(network: nn.Module, x: Tensor) -> fx.GraphModule:
    """A copy of a network in which each operation is a `Step`: for relevance propagation.

    Args:
        network: in eval mode; stays as it is.
        x: (B, C, H, W) images with which to try it. Other images of this size may be given to the copy.

    Raises:
        NotRewritable: it cannot be traced, multiplies computed values, normalises by computed statistics, or does something
            else through which relevance has no rule; or the copy answers otherwise than the network.
    """
    traced = _Traced(network, x)
    for node in traced.computing():
        operation = traced.operation(node)
        nonlinear = isinstance(operation, ACTIVATIONS)
        if not nonlinear and not traced.is_linear(node, operation) and not isinstance(operation, MAXIMA):
            raise traced.refusal(node)
        _become_step(traced, node, operation, nonlinear)
    for node in list(traced.graph.nodes):
        if node.op == "call_module" and traced.step(node).nonlinear:
            source = traced.source_of_its_own(node)
            if source.op == "call_module":
                traced.step(source).feeds_nonlinearity = True
    return traced.compiled()


def with_own_nonlinearities(network: nn.Module, x: Tensor) -> fx.GraphModule:
    """A copy of a network in which each nonlinearity is a module of its own that captum's DeepLIFT knows.

    Args:
        network: in eval mode; stays as it is.
        x: (B, C, H, W) images with which to try it. Other images of this size may be given to the copy.

    Raises:
        NotRewritable: it cannot be traced, multiplies computed values, or holds a nonlinearity without a Rescale rule; or
            the copy answers otherwise than the network.
    """
    traced = _Traced(network, x)
    for node in traced.computing():
        operation = traced.operation(node)
        replacement: nn.Module | None = None
        if isinstance(operation, nn.ReLU6):
            replacement = ReLU6AsDifference()
        elif isinstance(operation, nn.MaxPool2d):
            replacement = SeparateWindows(operation)
        elif type(operation) in RESCALED:
            replacement = copy.deepcopy(operation)
            if hasattr(replacement, "inplace"):
                replacement.inplace = False
        elif not traced.is_linear(node, operation):
            raise traced.refusal(node)
        if replacement is not None:
            source = traced.source_of_its_own(node)
            traced.put(node, replacement, (source,), {})
    return traced.compiled()


# What torch offers, sorted by what the methods may do with it. Whatever stands in none of these lists is refused.

ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Hardswish,
    nn.Hardtanh, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.Softplus,
)  # fmt: skip
RESCALED = (nn.ReLU, nn.LeakyReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Softplus)  # in captum's DeepLIFT
MAXIMA = (nn.MaxPool2d, nn.AdaptiveMaxPool2d)  # all relevance to the largest
SKIPPED = (nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)  # and whatever is derived from them
LINEAR_MODULES = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten, nn.Unflatten, nn.ZeroPad2d,
    nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d, nn.Upsample, nn.PixelShuffle,
    nn.PixelUnshuffle, nn.ChannelShuffle,
)  # fmt: skip
_FUNCTIONS: dict[Any, type[nn.Module]] = {
    **dict.fromkeys((F.relu, torch.relu, torch.relu_, "relu", "relu_"), nn.ReLU),
    **dict.fromkeys((torch.sigmoid, F.sigmoid, "sigmoid"), nn.Sigmoid),
    **dict.fromkeys((torch.tanh, F.tanh, "tanh"), nn.Tanh),
    F.relu6: nn.ReLU6, F.leaky_relu: nn.LeakyReLU, F.elu: nn.ELU, F.gelu: nn.GELU, F.silu: nn.SiLU, F.hardswish: nn.Hardswish,
    F.hardtanh: nn.Hardtanh, F.softplus: nn.Softplus, F.max_pool2d: nn.MaxPool2d, torch.max_pool2d: nn.MaxPool2d,
    F.adaptive_max_pool2d: nn.AdaptiveMaxPool2d, F.dropout: nn.Identity, F.dropout2d: nn.Identity,
}  # fmt: skip
_PARAMETERS = {  # of the functions, in their order, where the module's own order is another or it has fewer
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    nn.LeakyReLU: ("negative_slope",), nn.ELU: ("alpha",), nn.Hardtanh: ("min_val", "max_val"),
    nn.Softplus: ("beta", "threshold"), nn.GELU: ("approximate",), nn.AdaptiveMaxPool2d: ("output_size", "return_indices"),
}  # fmt: skip
_LINEAR = {
    operator.getitem, operator.neg, torch.cat, torch.concat, torch.stack, torch.flatten, torch.reshape, torch.permute,
    torch.transpose, torch.squeeze, torch.unsqueeze, torch.mean, torch.sum, torch.neg, torch.clone, torch.chunk, torch.split,
    F.avg_pool2d, torch._C._nn.avg_pool2d, F.adaptive_avg_pool2d, F.pad, F.interpolate, F.unfold, F.pixel_shuffle,
    "flatten", "reshape", "view", "permute", "transpose", "squeeze", "unsqueeze", "mean", "sum", "neg", "clone", "contiguous",
    "expand", "chunk", "split", "narrow", "float", "double",
}  # fmt: skip
_SUMS: dict[Any, Callable[..., Any]] = {  # and what stands for those that write into their argument
    operator.add: operator.add, operator.iadd: operator.add, torch.add: torch.add, "add": torch.add, "add_": torch.add,
    operator.sub: operator.sub, operator.isub: operator.sub, torch.sub: torch.sub, "sub": torch.sub, "sub_": torch.sub,
}  # fmt: skip
_QUOTIENTS = {operator.truediv, torch.div, "div"}
_SCALINGS = {  # linear where one tensor alone is computed from the image, in a quotient the upper one
    *_QUOTIENTS, operator.mul, torch.mul, "mul", F.conv2d, torch.conv2d, F.linear, torch._C._nn.linear,
    operator.matmul, torch.matmul, F.batch_norm, torch.batch_norm,
}  # fmt: skip


class _Tracer(fx.Tracer):
    """Follows each module down to torch's own, but not into others' convolutions: those look at shapes in Python, to pad."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, WEIGHTED) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(m, BagNet):  # its own forward asks for shapes and devices, which only an image has
            return _bagnet(m, *args)
        return super().call_module(m, forward, args, kwargs)


def _bagnet(model: BagNet, x: Any) -> Any:
    x = model.conv1(x)
    if not model.architecture.padded:
        x = model.conv2(x)
    x = model.relu(model.bn1(x))
    for stage in model.stages:
        x = stage(x)
    return model.fc(x.mean((2, 3)))


class _Values(fx.Interpreter):
    """Runs a graph and keeps what kind of value each node has."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        several = isinstance(value, (tuple, list)) and any(isinstance(part, Tensor) for part in value)
        n.meta["kind"] = "tensor" if isinstance(value, Tensor) else "several tensors" if several else "other"
        return value


class _Traced:
    """A copy of a network as a graph, and what is asked of its nodes while it is rewritten."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        self.original, self.x, self.name = network, x, name_of(network)
        self.root = nn.Sequential(copy.deepcopy(network).eval().requires_grad_(False))  # in a frame, so that a BagNet is a part
        try:
            self.graph = _Tracer().trace(self.root)
        except Exception as error:  # whatever the network's own code makes of a stand-in for a tensor
            reason = " ".join(str(error).split())[:200]
            raise NotRewritable(
                f"{self.name} cannot be rewritten: its forward decides by values or shapes in Python "
                f"({type(error).__name__}: {reason})"
            ) from error
        with torch.no_grad():
            _Values(fx.GraphModule(self.root, self.graph)).run(x.clone())
        self.varying: set[fx.Node] = set()
        for node in self.graph.nodes:
            if node.op == "get_attr":  # kept without the module it was in, or captum would look for that module's rule
                path = f"own_{node.name}"
                self.root.register_buffer(path, operator.attrgetter(str(node.target))(self.root).detach())
                node.target = path
            if node.op == "placeholder" or any(source in self.varying for source in node.all_input_nodes):
                self.varying.add(node)

    def computing(self) -> Iterator[fx.Node]:
        """The nodes whose tensor depends on the image, without those that do nothing, which are taken out."""
        for node in list(self.graph.nodes):
            if node.op in ("placeholder", "output", "get_attr") or not self.computed(node):
                continue
            if isinstance(self.operation(node), SKIPPED):
                node.replace_all_uses_with(node.args[0])
                self.graph.erase_node(node)
                continue
            if node.target in _SUMS:  # a sum that writes into its argument would do so behind a hook's back
                node.op, node.target = "call_function", _SUMS[node.target]
            yield node

    def computed(self, node: fx.Node) -> bool:
        """Whether it is a tensor, or several, that depend on the image."""
        return node in self.varying and node.meta["kind"] != "other"

    def operation(self, node: fx.Node) -> Any:
        """What a node does: a module where there is one for it, else a function."""
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))
        if node.target in _FUNCTIONS:
            kind = _FUNCTIONS[node.target]
            names = _PARAMETERS.get(kind, ())
            arguments = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
            return kind(**{name: value for name, value in arguments.items() if name in names})
        return getattr(torch.Tensor, str(node.target)) if node.op == "call_method" else node.target

    def is_linear(self, node: fx.Node, operation: Any) -> bool:
        """Whether the node's tensor is linear, but for a constant, in the tensors that it is computed from."""
        if isinstance(operation, nn.Module):
            fixed = getattr(operation, "track_running_stats", True)  # else batch normalisation divides by the batch's own
            return isinstance(operation, WEIGHTED) or (isinstance(operation, LINEAR_MODULES) and fixed)
        if node.target in _SCALINGS:
            computed = [source for source in node.all_input_nodes if self.computed(source)]
            return len(computed) == 1 and (node.target not in _QUOTIENTS or node.args[0] is computed[0])
        return node.target in _LINEAR or node.target in _SUMS

    def refusal(self, node: fx.Node) -> NotRewritable:
        """What to say of a node without a rule."""
        operation = self.operation(node)
        what = type(operation).__name__ if isinstance(operation, nn.Module) else getattr(operation, "__name__", operation)
        why = " of computed tensors" if node.target in _SCALINGS else ""
        return NotRewritable(f"{self.name} cannot be rewritten: there is no rule for {what}{why} (at {node.name})")

    def source_of_its_own(self, node: fx.Node) -> fx.Node:
        """The node that a nonlinearity is computed from, which nothing else uses: a copy is put between where something does.

        A nonlinearity's hook replaces all of its input's gradient, with what other users of the same tensor sent back.
        """
        source = node.all_input_nodes[0]
        if len(source.users) == 1 and source.op != "placeholder":
            return source
        with self.graph.inserting_before(node):
            duplicate = self.graph.call_function(torch.clone, (source,))
        duplicate.meta["kind"] = "tensor"
        self.varying.add(duplicate)
        node.replace_input_with(source, duplicate)
        if node.op == "call_module" and isinstance(self.root.get_submodule(str(node.target)), Step):
            _become_step(self, duplicate, torch.clone, False)
        return duplicate

    def step(self, node: fx.Node) -> Step:
        """The step that a node calls."""
        step = self.root.get_submodule(str(node.target))
        assert isinstance(step, Step)
        return step

    def put(self, node: fx.Node, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Let a node call a new module."""
        path = f"own_{node.name}"
        self.root.add_module(path, module)
        node.op, node.target, node.args, node.kwargs = "call_module", path, args, kwargs

    def compiled(self) -> fx.GraphModule:
        """The rewritten network, after a look at whether it answers as the original does."""
        rewritten = fx.GraphModule(self.root, self.graph).eval()
        rewritten.delete_all_unused_submodules()
        with torch.no_grad():
            wanted, answer = self.original(self.x.clone()), rewritten(self.x.clone())
        wrong = float((wanted - answer).abs().max() / wanted.abs().max().clamp_min(torch.finfo(wanted.dtype).tiny))
        if not wrong <= SAME:
            raise NotRewritable(
                f"{self.name} cannot be rewritten: the copy's logits differ by {wrong:.1e} of the largest (does an "
                f"operation write into a tensor that is used again?)"
            )
        return rewritten


def _become_step(traced: _Traced, node: fx.Node, operation: Callable[..., Any], nonlinear: bool) -> None:
    if node.meta["kind"] == "several tensors":
        raise traced.refusal(node)
    tensors: list[fx.Node] = []
    numbers: dict[str, fx.Node] = {}

    def slot(source: fx.Node) -> Any:
        if traced.computed(source):
            if source not in tensors:
                tensors.append(source)
            return Slot(tensors.index(source))
        numbers[source.name] = source
        return Slot(source.name)

    as_module = isinstance(operation, nn.Module)
    args, kwargs = (node.args[:1], {}) if as_module else (node.args, node.kwargs)
    args, kwargs = fx.node.map_arg(args, slot), fx.node.map_arg(kwargs, slot)
    if as_module and hasattr(operation, "inplace"):
        operation = copy.deepcopy(operation)
        operation.inplace = False
    traced.put(node, Step(operation, args, kwargs, nonlinear), tuple(tensors), numbers)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)
