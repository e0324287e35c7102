"""Diagnosis finds exactly the planted faults, and the repair changes nothing but what it says, on any image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from bagnet.engine import diagnose as module
from bagnet.engine.diagnose import EXACT, ROUNDINGS, Diagnosis, computing_in, diagnose, mend, sample_images
from bagnet.model import BagNet, Bottleneck
from bagnet.progress import Progress

Small = Callable[..., BagNet]


def images(count: int = 1, seed: int = 5, scale: float = 1.0) -> Tensor:
    return scale * torch.randn((count, 3, 41, 47), generator=torch.Generator().manual_seed(seed))


def layer(model: BagNet, name: str) -> nn.Conv2d:
    submodule = model.get_submodule(name)
    assert isinstance(submodule, nn.Conv2d)
    return submodule


def norm(model: BagNet, name: str) -> nn.BatchNorm2d:
    submodule = model.get_submodule(name)
    assert isinstance(submodule, nn.BatchNorm2d)
    return submodule


def dead(diagnosis: Diagnosis) -> dict[str, tuple[int, ...]]:
    return {entry.name: entry.dead for entry in diagnosis.layers if entry.dead}


def moved(after: Tensor, before: Tensor) -> float:
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize("padded", [False, True])
def test_lively_network_has_nothing_dead_and_nothing_to_repair(small: Small, padded: bool) -> None:
    model = small(padded=padded, layers=(2, 1, 2, 1))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = diagnose(model, images())
    assert dead(report) == {}
    repair = mend(model, images(), report)
    assert (repair.removed, repair.error) == (0, 0.0)
    assert repair.before == repair.after == report.whole
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("name", "normalisation", "channels", "way"),
    [
        pytest.param("conv2", "bn1", [1], "zero weights", marks=pytest.mark.slow),
        ("layer1.0.conv1", "layer1.0.bn1", [0, 3], "zero weights"),
        ("layer2.0.conv2", "layer2.0.bn2", [2, 5], "zero gain"),
        pytest.param("layer2.0.conv2", "layer2.0.bn2", [4], "tiny weights", marks=pytest.mark.slow),
        pytest.param("layer3.1.conv3", "layer3.1.bn3", [7], "zero weights", marks=pytest.mark.slow),
        ("layer3.1.conv3", "layer3.1.bn3", [0, 1, 2], "tiny weights"),
        ("layer4.0.downsample.0", "layer4.0.downsample.1", [0, 127], "zero gain"),
    ],
)
def test_planted_dead_channels_are_found_and_removed(
    small: Small, name: str, normalisation: str, channels: list[int], way: str
) -> None:
    model = small(layers=(1, 1, 2, 1))
    with torch.no_grad():
        if way == "zero gain":
            norm(model, normalisation).weight[channels] = 0.0
        else:
            layer(model, name).weight[channels] *= 0.0 if way == "zero weights" else 1e-9
        before, fresh = model(images()), model(images(4, seed=9, scale=3.0))
        report = diagnose(model, images())
        assert dead(report) == {name: tuple(channels)}
        assert report.dead == len(channels)
        repair = mend(model, images(), report)
        assert repair.removed == len(channels)
        assert moved(model(images()), before) == repair.error <= EXACT
        assert moved(model(images(4, seed=9, scale=3.0)), fresh) <= EXACT
    assert not layer(model, name).weight[channels].any()
    assert not norm(model, normalisation).weight[channels].any()
    assert norm(model, normalisation).running_var[channels].eq(1).all()  # type: ignore[index]


def weaken(model: BagNet, block: str, gain: float, generator: torch.Generator) -> None:
    """Make a block as weight decay left some in published weights: weights of 1e-7, and statistics that fit them."""
    part = model.get_submodule(block)
    assert isinstance(part, Bottleneck)
    with torch.no_grad():
        for conv, bn in ((part.conv1, part.bn1), (part.conv2, part.bn2), (part.conv3, part.bn3)):
            conv.weight.normal_(0, 1e-7, generator=generator)
            bn.running_mean.normal_(0, 1e-7, generator=generator)  # type: ignore[union-attr]
            bn.running_var.uniform_(1e-15, 1e-13, generator=generator)  # type: ignore[union-attr]
            if gain < 1e-3:
                bn.weight.normal_(0, gain, generator=generator)
                bn.bias.normal_(0, gain, generator=generator)
            else:
                bn.weight.uniform_(0.5 * gain, 1.5 * gain, generator=generator)
                bn.bias.normal_(0, 0.1, generator=generator)


@pytest.mark.parametrize(
    ("block", "gain", "padded"),
    [
        ("layer1.1", 1e-7, False),
        pytest.param("layer1.1", 1.0, True, marks=pytest.mark.slow),
        pytest.param("layer3.1", 1e-7, True, marks=pytest.mark.slow),
        ("layer3.1", 1.0, False),
    ],
)
def test_planted_dead_block_is_found_and_removed(small: Small, block: str, gain: float, padded: bool) -> None:
    model = small(layers=(2, 1, 2, 1), kernel3=(2, 1, 2, 0), padded=padded)
    weaken(model, block, gain, torch.Generator().manual_seed(2))
    bottleneck = model.get_submodule(block)
    assert isinstance(bottleneck, Bottleneck)
    with torch.no_grad():
        before, fresh = model(images()), model(images(4, seed=9, scale=3.0))
        report = diagnose(model, images())
        assert dead(report) == {
            f"{block}.conv{i}": tuple(range(conv.out_channels))
            for i, conv in enumerate((bottleneck.conv1, bottleneck.conv2, bottleneck.conv3), 1)
        }
        repair = mend(model, images(), report)
        assert repair.removed == 2 * bottleneck.conv1.out_channels + bottleneck.conv3.out_channels
        assert moved(model(images()), before) == repair.error <= EXACT
        assert moved(model(images(4, seed=9, scale=3.0)), fresh) <= EXACT
        assert dead(diagnose(model, images())) == dead(report)  # still there, as constants


def test_channel_that_reaches_only_dead_ones_is_dead(small: Small) -> None:
    model = small()
    with torch.no_grad():
        layer(model, "layer2.0.conv3").weight[:, 3] = 0.0
        layer(model, "layer3.0.conv2").weight[:, 1] = 0.0
        fresh = model(images(4, seed=9))
        report = diagnose(model, images())
        assert dead(report) == {"layer2.0.conv2": (3,), "layer3.0.conv1": (1,)}
        mend(model, images(), report)
        assert moved(model(images(4, seed=9)), fresh) <= EXACT


def test_neuron_that_is_only_silent_on_the_measured_images_is_alive(small: Small) -> None:
    """Bright images silence the first channel, and with it all that the second sees; dark ones wake it."""
    model = small()
    with torch.no_grad():
        norm(model, "bn1").weight[:] = 0.05  # the stem hardly varies, and stays positive, ...
        norm(model, "bn1").bias[:] = 1.0
        layer(model, "layer1.0.conv1").weight[0] = -1.0
        norm(model, "layer1.0.bn1").bias[0] = 0.0  # ... so that this one is silent after its rectifier
        layer(model, "layer1.0.conv2").weight[2] = 0.0
        layer(model, "layer1.0.conv2").weight[2, 0] = 1.0
        bright = images().clamp(-0.1, 0.1)
        assert model.layer1[0].conv1(model.relu(model.bn1(model.conv2(model.conv1(bright)))))[:, 0].max() < -1  # type: ignore[index, union-attr, operator]
        assert dead(diagnose(model, bright)) == {}


def test_repair_that_would_change_the_logits_is_undone(small: Small) -> None:
    model = small()
    report = diagnose(model, images())
    wrong = replace(report, layers=(*report.layers[:4], replace(report.layers[4], dead=(0, 1)), *report.layers[5:]))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    card = model.card
    with pytest.raises(ValueError, match=r"the repair would move a logit by .*nothing was changed"):
        mend(model, images(), wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.card == card


def spoil(model: BagNet) -> str:
    """Make one layer cancel a large mean: what is left is a difference of large numbers, and rounding is felt."""
    with torch.no_grad():
        norm(model, "layer1.0.bn2").bias += 100.0
        weight = layer(model, "layer1.0.conv3").weight
        constant = (weight * 100.0).sum((1, 2, 3))
        norm(model, "layer1.0.bn3").running_mean += constant
        norm(model, "layer1.0.bn3").running_var[:] = 1e-2
    return "layer1.0.conv3"


def test_costly_layer_is_named_and_keeping_it_recovers_what_is_reported(small: Small) -> None:
    model = small()
    name = spoil(model)
    report = diagnose(model, images(4), tolerance=0.03)
    assert report.float32_layers == (name,)
    costs = {entry.name: entry.rounding["tf32"] for entry in report.layers}
    assert max(costs, key=costs.__getitem__) == name
    assert costs[name] > 5 * max(cost for layer_name, cost in costs.items() if layer_name != name)
    repair = mend(model, images(4), report)
    assert repair.float32_layers == (name,)
    assert repair.kept["tf32"] < 0.2 * repair.after["tf32"]
    assert model.card is not None
    assert model.card.float32_layers == (name,)


@torch.no_grad()
def test_numbers_before_and_after_are_measured(small: Small) -> None:
    model = small(layers=(2, 1, 1, 1))
    name = spoil(model)
    weaken(model, "layer1.1", 1e-7, torch.Generator().manual_seed(2))
    everything = [key for key, value in model.named_modules() if isinstance(value, (nn.Conv2d, nn.Linear))]

    def measured(names: list[str]) -> dict[str, float]:
        exact, errors = model(images()), {}
        for precision in ROUNDINGS:
            with computing_in(model, names, precision):
                errors[precision] = moved(model(images()), exact)
        return errors

    before = measured(everything)
    report = diagnose(model, images(), tolerance=0.03)
    assert report.whole == before
    for entry in report.layers:
        assert entry.rounding == measured([entry.name])
        assert entry.largest_weight == float(model.get_submodule(entry.name).weight.abs().max())  # type: ignore[union-attr]
    repair = mend(model, images(), report)
    assert repair.before == before
    assert repair.after == pytest.approx(measured(everything), rel=1e-2)
    assert repair.kept == pytest.approx(measured([key for key in everything if key not in report.float32_layers]), rel=1e-2)
    assert name in report.float32_layers


@torch.no_grad()
@pytest.mark.parametrize("precision", ROUNDINGS)
def test_layer_alone_computes_as_in_that_precision(small: Small, precision: str) -> None:
    """One 1x1 convolution of one weight, and the head: the logits are what rounding by hand says."""
    model = small(in_channels=1, width=1)
    passing: dict[str, Tensor] = {}
    handles = (
        layer(model, "layer2.0.conv1").register_forward_hook(lambda _, x, y: passing.update(x=x[0])),
        norm(model, "layer2.0.bn1").register_forward_pre_hook(lambda _, x: passing.update(y=x[0])),
    )
    x = torch.randn((1, 1, 41, 41), generator=torch.Generator().manual_seed(1))
    exact = model(x)
    weight = layer(model, "layer2.0.conv1").weight.clone()
    with computing_in(model, ["layer2.0.conv1"], precision):
        model(x)
        assert torch.equal(layer(model, "layer2.0.conv1").weight, module._round(weight, precision))
    assert torch.equal(passing["x"], module._round(passing["x"], precision))
    if precision != "tf32":
        assert torch.equal(passing["y"], module._round(passing["y"], precision))
    for handle in handles:
        handle.remove()
    features = model.features(x).mean((2, 3))
    by_hand = module._round(features, precision) @ module._round(model.fc.weight, precision).T + model.fc.bias
    with computing_in(model, ["fc"], precision):
        logits = model(x)
    expected = by_hand if precision == "tf32" else module._round(by_hand, precision)
    torch.testing.assert_close(
        logits, expected, rtol=0, atol=(1e-6 if precision == "tf32" else 2**-8) * float(expected.abs().max())
    )
    assert not torch.equal(logits, exact)
    assert torch.equal(model(x), exact)
    assert torch.equal(layer(model, "layer2.0.conv1").weight, weight)


def test_everything_is_put_back_after_an_error(small: Small) -> None:
    model = small()
    with torch.no_grad():
        exact = model(images())

        def fail() -> None:
            with computing_in(model, ["conv1", "layer1.0.conv2", "fc"], "bf16"):
                raise KeyError("stop")

        with pytest.raises(KeyError, match="stop"):
            fail()
        assert torch.equal(model(images()), exact)
    assert "head" not in vars(model)


def bits(pattern: int) -> float:
    return float(np.array([pattern], np.uint32).view(np.float32)[0])


@pytest.mark.parametrize(
    ("given_bits", "expected_bits"),
    [
        (0x3F800000, 0x3F800000),  # 1
        (0x3F801000, 0x3F800000),  # 1 + 2**-11: half way, to the even 1
        (0x3F801001, 0x3F802000),  # just above half way
        (0x3F800FFF, 0x3F800000),  # just below
        (0x3F803000, 0x3F804000),  # 1 + 3 * 2**-11: half way, to the even one above
        (0xBF803000, 0xBF804000),  # the same, negative
        (0x3FFFFFFF, 0x40000000),  # carries into the exponent
        (0x7F7FFFFF, 0x7F800000),  # the largest number becomes infinite
        (0x7F800000, 0x7F800000),  # infinity
        (0xFF800000, 0xFF800000),
        (0x00000000, 0x00000000),
        (0x80000000, 0x80000000),  # negative zero
        (0x00000001, 0x00000000),  # the smallest subnormal
    ],
)
def test_tf32_by_bit_pattern(given_bits: int, expected_bits: int) -> None:
    result = module._round(torch.tensor([bits(given_bits)]), "tf32")
    assert result.view(torch.int32).numpy().view(np.uint32)[0] == expected_bits


def test_tf32_keeps_nan() -> None:
    assert module._round(torch.tensor([float("nan")]), "tf32").isnan().all()


@given(st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 3e38))
def test_tf32_is_the_nearest_number_of_eleven_bits(x: float) -> None:
    nearest = float(module._round(torch.tensor([x]), "tf32")[0])
    mantissa, exponent = np.frexp(np.float64(x))
    if abs(x) >= 2.0**-126:  # normal
        assert nearest == np.ldexp(np.round(mantissa * 2**11), exponent - 11)


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_short_floats_are_torchs(values: list[float]) -> None:
    x = torch.tensor(values)
    for precision, dtype in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        torch.testing.assert_close(module._round(x, precision), x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)


def test_overflow_is_an_infinite_cost_and_no_broken_json(small: Small) -> None:
    model = small()
    with torch.no_grad():
        layer(model, "layer1.0.conv1").weight *= 1e6
        norm(model, "layer1.0.bn1").running_var *= 1e12  # type: ignore[operator]
        norm(model, "layer1.0.bn1").running_mean *= 1e6  # type: ignore[operator]
    report = diagnose(model, images())
    costs = {entry.name: entry.rounding for entry in report.layers}["layer1.0.conv1"]
    assert costs["fp16"] == float("inf")
    assert costs["bf16"] < 1
    assert "layer1.0.conv1" in report.float32_layers
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert record["whole"]["fp16"] is None
    assert record["layers"][2]["name"] == "layer1.0.conv1"
    assert record["layers"][2]["rounding"]["fp16"] is None
    repair = mend(model, images(), report)
    assert repair.before["fp16"] == float("inf")
    assert repair.kept["fp16"] < 1
    json.dumps(repair.to_dict(), allow_nan=False)


def test_report_in_words_and_progress(small: Small) -> None:
    model = small()
    with torch.no_grad():
        layer(model, "layer1.0.conv1").weight[2] = 0.0
    told: list[Progress] = []
    report = diagnose(model, images(), progress=told.append)
    steps = (len(report.layers) + 1) * 3
    assert told == [Progress("measuring", number, steps, "steps") for number in range(1, steps + 1)]
    lines = report.to_text().splitlines()
    assert lines[0].startswith("1 images of 41 x 47 px")
    assert [line.split()[0] for line in lines[2 : 2 + len(report.layers)]] == [entry.name for entry in report.layers]
    assert next(line for line in lines if line.startswith("layer1.0.conv1 ")).split()[1:4] == ["1", "of", "4"]
    assert set(report.agreement) == set(ROUNDINGS)
    assert all(0 <= share <= 1 for share in report.agreement.values())
    told.clear()
    repair = mend(model, images(), report, told.append)
    assert told == [Progress("repairing", number, 9, "steps") for number in range(1, 10)]
    assert repair.to_text().startswith("repair: 1 dead channels removed; float32 logits moved by ")


def test_photographs_to_measure_on(small: Small, photograph: Path) -> None:
    assert sample_images(small(), [photograph]).shape == (1, 3, 224, 224)
    assert sample_images(small(), [photograph, photograph], size=64).shape == (2, 3, 64, 64)
    assert sample_images(small(), size=40).shape == (3, 3, 40, 40)
    assert sample_images(small(in_channels=1), [photograph], size=64).shape == (1, 1, 64, 64)
    assert sample_images(small(in_channels=4), size=64).shape == (4, 4, 64, 64)


def test_photographs_of_different_sizes_need_a_size(small: Small, photograph: Path, tmp_path: Path) -> None:
    from PIL import Image

    model = small()
    assert model.card is not None
    model.card = replace(model.card, preprocessing=replace(model.transform, resize=None, crop=None))
    square = tmp_path / "other.png"
    Image.new("RGB", (80, 80)).save(square)
    with pytest.raises(ValueError, match=r"of different sizes, .*name a size"):
        sample_images(model, [photograph, square])
    assert sample_images(model, [photograph, square], size=64).shape == (2, 3, 64, 64)
