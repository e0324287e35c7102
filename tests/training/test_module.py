"""One step of training, of selection and of the moving average, on weights and logits that are set by hand."""

from __future__ import annotations

from copy import deepcopy
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bagnet.data.decode import BadImage
from bagnet.data.order import Order
from bagnet.data.samples import BadTile, Batch
from bagnet.model import BagNet
from bagnet.training.losses import classification, distillation, logit_distance, margin_shortfall, sparsity
from bagnet.training.masking import hardest_windows, mean_of, random_windows, touched_cells
from bagnet.training.module import Diverged, Training, check_unreadable, learning_rate
from bagnet.training.recipe import RECIPES, Recipe

from ..engine.classifiers import small_windowed
from .conftest import SMALL


class Fixed(nn.Module):
    """Gives the logits that it holds, whatever it is shown."""

    def __init__(self, logits: Any) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))

    def forward(self, _: Tensor) -> Tensor:
        return self.logits


def training(model: nn.Module, **fields: Any) -> tuple[Training, dict[str, Tensor]]:
    """The module, on 100 images in ten steps an epoch, and what it logs."""
    keywords = {name: fields.pop(name) for name in ("multilabel", "class_weights") if name in fields}
    module = Training(model, Recipe(**{"label_smoothing": 0.0, "ema": 0.0, **fields}), Order(100, 10, 0), 100, **keywords)
    logged: dict[str, Tensor] = {}
    module.log = lambda name, value, **_: logged.update({name: value})  # type: ignore[assignment,method-assign]
    return module, logged


def batch(images: Tensor, targets: Any, teacher: Tensor | None = None, unreadable: Any = ()) -> Batch:
    targets = torch.as_tensor(targets, dtype=torch.float32)
    return Batch(images, targets, targets[:, :0] if teacher is None else teacher, list(unreadable))


def step(module: Training, batch: Batch) -> float:
    return float(module.training_step(batch, 0).detach())


IMAGES = torch.zeros(2, 3, 17, 17)
LOGITS = torch.tensor([[0.0, log(3.0)], [log(4.0), 0.0]])  # probabilities 1/4, 3/4 and 4/5, 1/5
FIRST = [[1.0, 0.0], [1.0, 0.0]]


def test_the_loss_of_a_step() -> None:
    module, logged = training(Fixed(LOGITS))
    loss = step(module, batch(IMAGES, FIRST))
    assert loss == pytest.approx((log(4) + log(5 / 4)) / 2)
    assert {name: float(value.detach()) for name, value in logged.items()} == {"train/loss": loss}
    weighted, _ = training(Fixed(LOGITS), class_weights=torch.tensor([3.0, 1.0]))
    targets = [[1.0, 0.0], [0.0, 1.0]]
    expected = classification(LOGITS, torch.tensor(targets), class_weights=torch.tensor([3.0, 1.0]))
    assert step(weighted, batch(IMAGES, targets)) == float(expected)


@pytest.mark.parametrize("compared", ["probabilities", "logits"])
def test_a_teacher_has_its_share_of_the_loss(compared: str) -> None:
    teacher = torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    taught = logit_distance(LOGITS, teacher) if compared == "logits" else distillation(LOGITS, teacher, temperature=2.0)
    module, _ = training(Fixed(LOGITS), distil=0.25, distil_on=compared, temperature=2.0)
    loss = step(module, batch(IMAGES, FIRST, teacher))
    assert loss == pytest.approx(0.75 * (log(4) + log(5 / 4)) / 2 + 0.25 * float(taught))


def test_sparsity_adds_the_evidence_of_all_windows() -> None:
    model = BagNet(SMALL)
    x, targets = torch.randn(2, 3, 17, 17), torch.eye(1000)[:2]
    (plain, _), (sparse, logged) = training(model), training(model, sparsity=0.5)
    difference = step(sparse, batch(x, targets)) - step(plain, batch(x, targets))
    absolute = sparsity(model.train().evidence(x).detach())
    assert float(absolute) > 0.1
    assert difference == pytest.approx(0.5 * float(absolute), rel=1e-4)
    assert float(logged["train/evidence"].detach()) == pytest.approx(float(absolute), rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_run(value: float) -> None:
    module, _ = training(Fixed([[0.0, value], [0.0, 0.0]]), learning_rate=0.02)
    with pytest.raises(
        Diverged, match=r"^the loss is nan at step 0: try a lower learning_rate than 0\.02, or clip, in another folder$"
    ):
        module.training_step(batch(IMAGES, FIRST), 0)
    with pytest.raises(Diverged, match=r"^the loss on images to select on is nan after step 0"):
        module.validation_step((IMAGES, torch.tensor(FIRST)), 0)


def test_weights_that_are_not_finite_are_named() -> None:
    module, _ = training(BagNet(SMALL))
    module.check_weights()
    with torch.no_grad():
        module.model.layer2[0].bn1.running_var[3] = float("inf")  # type: ignore[union-attr,index]
    with pytest.raises(Diverged, match=r"^layer2\.0\.bn1\.running_var is not finite any more after step 0"):
        module.check_weights()


def test_unreadable_images_are_counted_once_and_up_to_a_share() -> None:
    check_unreadable({3: "broken"}, 100, Recipe(unreadable=0.01))
    with pytest.raises(
        BadImage, match=r"^2 of 100 images cannot be read, more than 1% \(unreadable in the recipe\); the first: broken$"
    ):
        check_unreadable({3: "broken", 5: "empty"}, 100, Recipe(unreadable=0.01))
    module, _ = training(Fixed(LOGITS))
    for _ in range(2):
        module.training_step(batch(IMAGES, FIRST, unreadable=[(3, "broken")]), 0)
    assert module.unreadable == {3: "broken"}
    with pytest.raises(BadImage, match="2 of 100 images"):
        module.training_step(batch(IMAGES, FIRST, unreadable=[(5, "empty")]), 0)


def test_bad_tiles_count_in_their_epoch_up_to_a_share() -> None:
    """1 % of two tiles of each of 100 slides; of twice as many where each is mixed with another."""
    for mixup, most in ((0.0, 2), (0.4, 4)):
        module, _ = training(Fixed(LOGITS), tiles=2, mixup=mixup)
        tiles = [BadTile(3, f"at {place}", "corrupt") for place in range(most + 1)]
        module.bad_tiles = dict.fromkeys((BadTile(0, f"at {place}", "corrupt") for place in range(9)), -1)  # of an epoch before
        for _ in range(2):
            module.training_step(batch(IMAGES, FIRST)._replace(bad_tiles=tiles[:most]), 0)
        assert len(module.bad_tiles) == 9 + most
        with pytest.raises(BadImage, match=rf"^{most + 1} of {100 * most} tiles of an epoch cannot be read, more than 1%"):
            module.training_step(batch(IMAGES, FIRST)._replace(bad_tiles=tiles[most:]), 0)


def test_measures_of_selection() -> None:
    """Of seven classes the label is the first, the second and the sixth best of the three images."""
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4, 3]] * 3)
    module, logged = training(Fixed(logits))
    for _ in range(2):  # of each epoch anew
        module.on_validation_epoch_start()
        module.validation_step((IMAGES, torch.eye(7)[[0, 1, 5]]), 0)
        module.validation_step((IMAGES, torch.eye(7)[[0, 0, 5]]), 1)
        module.on_validation_epoch_end()
    assert {name: pytest.approx(float(torch.as_tensor(value).detach())) for name, value in logged.items()} == {
        "select/loss": float(classification(logits, torch.eye(7)[[0, 0, 5]])),
        "select/balanced_accuracy": 1 / 3,  # of class 0 all are right, of the two others none
        "select/top1": 3 / 6,
    }
    assert [measure.images for measure in module.selection_measures()] == [6, 6]
    module, logged = training(Fixed([[1.0, -1.0], [2.0, 3.0]]), multilabel=True)
    module.validation_step((IMAGES, torch.tensor([[1.0, 0.0], [0.0, 1.0]])), 0)
    assert logged.keys() == {"select/loss", "select/right"}
    assert float(logged["select/right"]) == 0.75
    assert module.selection_measures() == []


def test_selection_takes_logits_that_have_a_gradient(recwarn: pytest.WarningsRecorder) -> None:
    module, _ = training(Fixed(LOGITS))
    module.validation_step((IMAGES, torch.eye(len(LOGITS[0]))[[0] * len(LOGITS)]), 0)
    assert not [warning for warning in recwarn if "scalar" in str(warning.message)]


def groups(**fields: Any) -> set[tuple[float, float, int]]:
    """(learning rate, weight decay, tensors) of each group of parameters."""
    optimiser = training(BagNet(SMALL), **fields)[0].configure_optimizers()["optimizer"]
    return {(group["initial_lr"], group["weight_decay"], len(group["params"])) for group in optimiser.param_groups}


def test_head_and_normalisation_have_their_own_rates() -> None:
    """18 convolutions, 17 normalisations of two vectors, and the head's matrix and vector."""
    shape = {"learning_rate": 0.5, "weight_decay": 0.25}
    assert groups(**shape) == {(0.5, 0.25, 18), (0.5, 0.0, 34), (0.5, 0.25, 1), (0.5, 0.0, 1)}
    assert groups(**shape, decay_all=True, backbone_rate=0.5) == {(0.25, 0.25, 52), (0.5, 0.25, 2)}
    assert groups(**shape, freeze=True) == {(0.5, 0.25, 1), (0.5, 0.0, 1)}


def test_what_is_frozen_has_no_gradient() -> None:
    module, _ = training(BagNet(SMALL), freeze=True)
    module.configure_optimizers()
    assert [name for name, value in module.model.named_parameters() if value.requires_grad] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize(
    ("fields", "kinds"), [({}, set()), ({"freeze_norm": True}, {nn.BatchNorm2d}), ({"freeze": True}, {nn.BatchNorm2d, nn.Conv2d})]
)
def test_what_is_frozen_keeps_its_statistics(fields: dict[str, bool], kinds: set[type]) -> None:
    module, _ = training(BagNet(SMALL), **fields)
    module.train()
    for part in module.model.modules():
        if isinstance(part, (nn.BatchNorm2d, nn.Conv2d)):
            assert part.training == (type(part) not in kinds)


def test_running_statistics_have_the_recipes_momentum() -> None:
    module, _ = training(BagNet(SMALL), batchnorm_momentum=0.25)
    assert {part.momentum for part in module.modules() if isinstance(part, nn.BatchNorm2d)} == {0.25}


def test_the_moving_average_warms_up() -> None:
    """The first weights as they are; then with decays 2/11 and 3/12; later with the recipe's."""
    model = Fixed([[0.0]])
    module, _ = training(model, ema=0.5)
    assert module.averaged is not None
    seen = []
    for value in (0.0, 11.0, 1.0, *[3.0] * 20):
        with torch.no_grad():
            model.logits.fill_(value)
        module.averaged.update(model)
        seen.append(float(module.result(IMAGES)))
    assert seen[:3] == pytest.approx([0.0, 9.0, 3.0])
    with torch.no_grad():
        model.logits.fill_(7.0)
    module.averaged.update(model)
    assert float(module.result(IMAGES)) == pytest.approx(5.0)
    assert module.result is not model


def test_without_a_moving_average_the_weights_are_the_result() -> None:
    model = Fixed(LOGITS)
    assert training(model)[0].result is model


def test_the_learning_rate_rises_and_falls() -> None:
    cosine = Recipe(warm_up=0.1)
    rates = [learning_rate(cosine, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_learning_rate_falls_in_steps() -> None:
    steps = RECIPES["paper"]
    rates = [learning_rate(steps, step, 900) for step in (0, 299, 300, 599, 600, 899)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_the_loss_of_windows_is_that_of_their_mean_logits() -> None:
    model = deepcopy(small_windowed())
    module, logged = training(model, sparsity=0.5, freeze_norm=True)
    module.train()
    windows = torch.randn(4, 3, 3, 17, 17)
    targets = torch.eye(5)[:4]
    with torch.no_grad():
        each = torch.stack([model(windows[:, number]) for number in range(3)])
        absolute = each.abs().sum((0, 2)).mean()
        expected = classification(each.mean(0), targets) + 0.5 * absolute
    assert step(module, batch(windows, targets)) == pytest.approx(float(expected), rel=1e-5)
    assert float(logged["train/evidence"]) == pytest.approx(float(absolute), rel=1e-5)


def test_the_last_blocks_alone() -> None:
    model = deepcopy(small_windowed())
    module, _ = training(model, blocks=1)
    module.configure_optimizers()
    module.train()
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert names == {"network.3.weight", "network.3.bias", "fc.weight", "fc.bias"}
    assert [layer.training for layer in model.network] == [False, False, True, True, True, True, True]


def test_gradients_are_clipped_to_a_norm_with_a_fused_optimiser() -> None:
    module, _ = training(Fixed([[0.0]]), precision="bf16", clip=1.0)
    assert module.configure_optimizers()["optimizer"].defaults["fused"]
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3.0)
    module.configure_gradient_clipping(None, None)
    assert all((parameter.grad == 3).all() for parameter in parameters)
    module.configure_gradient_clipping(None, 1.0)
    norm = torch.cat([parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]).norm()
    assert float(norm) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("masked_at", ["random", "hardest"])
def test_a_masked_step_asks_what_the_windows_say_that_patches_do_not_touch(masked_at: str) -> None:
    torch.manual_seed(0)
    model, x, targets = BagNet(SMALL), torch.randn(2, 3, 33, 33), torch.eye(1000)[:2]
    module, _ = training(model, masked=0.01, masked_at=masked_at, freeze_norm=True)
    module.train()
    if masked_at == "random":
        kept = random_windows(2, model.geometry, (33, 33), 0.01, (0, 0))
    else:
        kept = hardest_windows(model.evidence(x).detach(), torch.arange(2), model.geometry, (33, 33), 0.01)
    pooled = mean_of(model.features(x), kept).detach()
    masked, plain = (float(classification(model.head(mean), targets)) for mean in (pooled, model.features(x).mean((2, 3))))
    assert step(module, batch(x, targets)) == pytest.approx(masked, rel=1e-5)
    assert abs(masked - plain) > 1e-4


def test_a_step_with_a_margin_adds_what_the_lead_falls_short_of() -> None:
    torch.manual_seed(0)
    model, x, targets = BagNet(SMALL), torch.randn(2, 3, 33, 33), torch.eye(1000)[:2]
    module, logged = training(model, margin=2.0, margin_patch=0.01, margin_goal=0.3, freeze_norm=True)
    module.train()
    with torch.no_grad():
        evidence = model.evidence(x)
        touched = touched_cells(model.geometry, (33, 33), 0.01)
        short = float(margin_shortfall(evidence, targets, touched, 0.3))
        plain = float(classification(evidence.mean((2, 3)), targets))
    assert step(module, batch(x, targets)) == pytest.approx(plain + 2 * short, rel=1e-5)
    assert float(logged["train/margin_shortfall"]) == pytest.approx(short, rel=1e-5)
    assert short > 0.3


def test_lamb_takes_steps() -> None:
    module, _ = training(Fixed([[0.0]]), optimiser="lamb", learning_rate=0.5)
    optimiser = module.configure_optimizers()["optimizer"]
    assert type(optimiser).__name__ == "Lamb"
    assert {group["weight_decay"] for group in optimiser.param_groups} <= {0.0, module.recipe.weight_decay}
