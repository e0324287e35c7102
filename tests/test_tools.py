"""What other people's tools make of a BagNet: tracers, attribution, quantisation, compilers, copies."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental import _config as experimental
from torchvision.models.feature_extraction import create_feature_extractor

from bagnet.architecture import PUBLISHED_SHAPES, Architecture
from bagnet.bag import BagOfFeatures
from bagnet.model import BagNet, Bottleneck
from bagnet.zoo.catalogue import bundled
from bagnet.zoo.load import load

NAMES = [*PUBLISHED_SHAPES, *bundled()]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> BagOfFeatures:
    """The published shapes, narrow and with random weights; the bundled networks as they are."""
    if request.param in bundled():
        return load(request.param)
    shape = PUBLISHED_SHAPES[request.param]
    torch.manual_seed(0)
    return BagNet(Architecture(shape.kernel3, shape.strides, shape.layers, width=4, padded=shape.padded, num_classes=7)).eval()


@pytest.fixture(scope="module")
def x(model: BagOfFeatures) -> Tensor:
    """Two images of a few windows, which are no square."""
    side = max(41, model.geometry.size + 5)
    return torch.randn(2, 3, side, side + model.geometry.stride, generator=torch.Generator().manual_seed(0))


def test_traced_by_fx(model: BagOfFeatures, x: Tensor) -> None:
    traced = fx.symbolic_trace(model)
    for image in (x, x[..., :-4, :-3]):
        assert torch.allclose(traced(image), model(image), atol=1e-5)
    assert any(node.op == "call_module" and node.target == "fc" for node in traced.graph.nodes)


def test_features_extracted(model: BagOfFeatures, x: Tensor) -> None:
    if not isinstance(model, BagNet):
        pytest.skip("its layers are called otherwise")
    extractor = create_feature_extractor(model, {"layer3": "middle", "layer4.0.relu3": "late", "fc": "logits"})
    out = extractor(x)
    assert torch.allclose(out["logits"], model(x), atol=1e-5)
    assert out["late"].shape[1] == model.num_features


def test_captum_deeplift_is_complete(model: BagOfFeatures, x: Tensor) -> None:
    if not isinstance(model, BagNet):
        pytest.skip("captum has no rule for its rectifier, ReLU6")
    deeplift = pytest.importorskip("captum.attr").DeepLift
    frozen = copy.deepcopy(model).requires_grad_(False)
    baseline = torch.zeros_like(x[:1])
    attribution = deeplift(frozen).attribute(x[:1].clone(), baseline, target=1)
    expected = float((frozen(x[:1]) - frozen(baseline))[0, 1])
    assert float(attribution.sum()) == pytest.approx(expected, rel=1e-2, abs=1e-4)


def test_captum_sees_the_head(model: BagOfFeatures, x: Tensor) -> None:
    captum = pytest.importorskip("captum.attr")
    activation = captum.LayerActivation(model, model.fc).attribute(x)
    assert torch.equal(activation, model(x))


def test_hooks_on_the_head_are_called(model: BagOfFeatures, x: Tensor) -> None:
    seen: list[tuple[int, ...]] = []
    handle = model.fc.register_forward_hook(lambda module, given, out: seen.append(tuple(out.shape)))
    try:
        model(x)
        model.evidence(x)
        model.evidence(x, [1])
        model.logits_and_evidence(x)
    finally:
        handle.remove()
    assert len(seen) == 5
    assert {len(shape) for shape in seen} == {2, 4}


def test_another_head(model: BagOfFeatures, x: Tensor) -> None:
    changed = copy.deepcopy(model)
    changed.fc = nn.Identity()
    assert torch.allclose(changed(x), model.features(x).mean((2, 3)), atol=1e-6)
    changed.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(model.num_features, 3)).eval()
    logits, evidence = changed.logits_and_evidence(x)
    assert logits.shape == (2, 3)
    assert torch.allclose(evidence.mean((2, 3)), logits, atol=1e-4)
    assert torch.equal(changed.evidence(x, [2]), evidence[:, 2:])


def test_a_wrapped_head_changes_the_answer(model: BagOfFeatures, x: Tensor) -> None:
    """As low-rank adapters wrap linear layers."""

    class Doubled(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, features: Tensor) -> Tensor:
            doubled: Tensor = 2 * self.inner(features)
            return doubled

    changed = copy.deepcopy(model)
    changed.fc = Doubled(changed.fc)
    assert torch.allclose(changed(x), 2 * model(x), atol=1e-5)
    assert torch.allclose(changed.evidence(x, [0]), 2 * model.evidence(x, [0]), atol=1e-5)


def test_dynamic_quantisation(model: BagOfFeatures, x: Tensor) -> None:
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear}, dtype=torch.qint8)
    assert type(quantised.fc) is not nn.Linear
    expected = model(x)
    assert 0 < (quantised(x) - expected).abs().max() < 0.1 * expected.abs().max()


def test_functional_call(model: BagOfFeatures, x: Tensor) -> None:
    state = dict(model.state_dict())
    state["fc.bias"] = state["fc.bias"] + 1
    assert torch.allclose(torch.func.functional_call(model, state, (x,)), model(x) + 1, atol=1e-5)


def test_the_meta_device(model: BagOfFeatures) -> None:
    shadow = copy.deepcopy(model).to("meta")
    assert shadow(torch.empty(5, 3, 160, 170, device="meta")).shape == (5, model.num_classes)
    with pytest.raises(ValueError, match="takes a batch of shape"):
        shadow(torch.empty(5, 2, 160, 170, device="meta"))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies(model: BagOfFeatures, x: Tensor, copied: Callable[[BagOfFeatures], BagOfFeatures]) -> None:
    twin = copied(model)
    assert torch.equal(twin(x), model(x))
    assert twin.geometry == model.geometry
    assert twin.card == model.card


def test_autocast_leaves_the_head_alone(model: BagOfFeatures, x: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits, evidence = model.logits_and_evidence(x)
    assert logits.dtype == evidence.dtype == torch.float32


def assert_exported(model: BagOfFeatures, x: Tensor) -> None:
    """For any batch, height and width, down to one window: PyTorch would else refuse sides of one cell."""
    dynamic = torch.export.Dim.DYNAMIC
    with experimental.patch(backed_size_oblivious=True):
        program = torch.export.export(model, (x,), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},))
    for image in (x, x[:1, :, :-4, :-6]):
        expected = model(image)
        assert (program.module()(image) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_exported() -> None:
    x = torch.randn(2, 3, 41, 46, generator=torch.Generator().manual_seed(0))
    assert_exported(BagNet(Architecture(layers=(1, 1, 1, 1), width=4, num_classes=7)).eval(), x)


@pytest.mark.slow
def test_all_exported(model: BagOfFeatures, x: Tensor) -> None:
    assert_exported(model, x)


@pytest.mark.slow
def test_compiled() -> None:
    model, x = load(), torch.randn(2, 3, 133, 192)
    compiled = torch.compile(model)
    with torch.inference_mode():
        assert torch.allclose(compiled(x), model(x), atol=1e-4)


def test_one_rectifier_for_each_use(model: BagOfFeatures) -> None:
    for block in model.modules():
        if isinstance(block, Bottleneck):
            rectifiers = [module for module in block.children() if isinstance(module, nn.ReLU)]
            assert len(rectifiers) == 3
            assert not any(rectifier.inplace for rectifier in rectifiers)
