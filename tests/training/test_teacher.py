"""A teacher is asked once about each image, whoever asks and however often it was interrupted."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bagnet.architecture import Architecture, ExternalArchitecture
from bagnet.card import Card
from bagnet.data.arrays import ArrayImages
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.sources import open_images
from bagnet.data.transforms import Preprocessing
from bagnet.progress import Progress
from bagnet.training.teacher import ConsistentTeachers, answers, mean_answers
from bagnet.zoo.external import ExternalNetwork
from bagnet.zoo.load import untrained_model

COUNT = 21


class Mean(nn.Module):
    """Logits that say which image it was: the first pixel, plus the number of the class."""

    def __init__(self) -> None:
        super().__init__()
        self.zero = nn.Parameter(torch.zeros(()))
        self.asked = 0

    def forward(self, x: Tensor) -> Tensor:
        self.asked += len(x)
        return (x[:, 0, 0, 0] * 255)[:, None] + torch.arange(3.0) / 4 + self.zero


@pytest.fixture
def teacher() -> ExternalNetwork:
    plain = Preprocessing(None, None, mean=(0.0,), std=(1.0,))
    card = Card("mean", ExternalArchitecture("tests:mean", 3, 1), ClassNames.from_words(["ape", "bee", "cow"]), plain)
    return ExternalNetwork(Mean(), card).eval()


@pytest.fixture
def images() -> LabelledImages:
    values = np.arange(COUNT, dtype=np.uint8)[:, None, None, None].repeat(4, 1).repeat(4, 2)
    return LabelledImages(ArrayImages(values, "numbers"), torch.arange(COUNT) % 2, ClassNames.from_words(["cow", "ape"]))


def expected() -> Tensor:
    return torch.arange(float(COUNT))[:, None] + torch.tensor([[0.5, 0.0]])  # cow is the teacher's third class, ape its first


def test_its_classes_are_found_and_its_answers_kept(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    seen: list[Progress] = []
    assert torch.equal(answers(teacher, images, tmp_path, batch_size=8, progress=seen.append).float(), expected())
    assert seen == [Progress("asking mean", done, COUNT) for done in (8, 16, 21)]
    assert torch.equal(answers(teacher, images, tmp_path).float(), expected())
    assert teacher.network.asked == COUNT


def test_several_give_the_mean_of_their_logits(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    second = deepcopy(teacher)
    with torch.no_grad():
        second.network.zero.fill_(1)
    assert torch.equal(mean_answers([teacher, second], images, tmp_path).float(), expected() + 0.5)
    assert torch.equal(mean_answers([teacher], images, tmp_path).float(), expected())


def test_an_interruption_costs_a_batch_at_most(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    def cut(progress: Progress) -> None:
        if progress.done == 16:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        answers(teacher, images, tmp_path, batch_size=4, progress=cut)
    teacher.network.asked = 0
    assert torch.equal(answers(teacher, images, tmp_path, batch_size=4).float(), expected())
    assert teacher.network.asked == 5


def test_another_teacher_is_asked_anew(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    answers(teacher, images, tmp_path)
    with torch.no_grad():
        teacher.network.zero.fill_(1)
    assert torch.equal(answers(teacher, images, tmp_path).float(), expected() + 1)


def test_it_sees_the_grey_levels_that_its_student_sees(teacher: ExternalNetwork, tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for number, level in enumerate((0, 50, 100)):
        Image.fromarray(np.full((4, 4), level, np.uint16)).save(tmp_path / "scans" / f"{number}.png")
    scans = LabelledImages(open_images(tmp_path / "scans"), torch.zeros(3, dtype=torch.long), ClassNames.from_words(["cow"]))
    assert answers(teacher, scans, tmp_path / "plain")[:, 0].tolist() == [0.5] * 3
    values = answers(teacher, scans, tmp_path / "said", grey=(0, 100))[:, 0].tolist()
    assert values == [0.5, 128.5, 255.5]


def test_an_image_that_it_cannot_read(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    class Broken(ArrayImages):
        def pixels(self, row: int, channels: int, grey: object = None) -> np.ndarray:  # type: ignore[type-arg]
            if row == 9:
                raise ValueError("broken")
            return super().pixels(row, channels, grey)

    assert isinstance(images.images, ArrayImages)
    broken = LabelledImages(Broken(images.images.values, "numbers"), images.targets, images.classes)
    logits = answers(teacher, broken, tmp_path).float()
    assert logits.isnan().any(1).nonzero().flatten().tolist() == [9]
    others = [row for row in range(COUNT) if row != 9]
    assert torch.equal(logits[others], expected()[others])


def test_processes_share_the_work(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    answered: dict[int, Tensor] = {}

    def ask(rank: int) -> None:
        answered[rank] = answers(teacher, images, tmp_path, rank=rank, ranks=2)

    threads = [Thread(target=ask, args=(rank,)) for rank in (1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert torch.equal(answered[0].float(), expected())
    assert torch.equal(answered[1].float(), expected())
    assert teacher.network.asked == COUNT


@pytest.mark.parametrize("channels", [1, 3])
def test_views_are_asked_about_as_images_are(channels: int, images: LabelledImages, teacher: ExternalNetwork) -> None:
    """The size that it takes, its normalisation, its order of the classes; of several the mean. What is asked stays as it was."""
    views = torch.randint(256, (5, channels, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    network = untrained_model(Architecture((1, 0, 0, 0), (2, 1, 1, 1), (1, 1, 1, 1), 8, in_channels=3, num_classes=3))
    seen_as = Preprocessing(20, 16, "bicubic", mean=(0.4,) * 3, std=(0.2,) * 3)
    second = ExternalNetwork(network, replace(teacher.card, preprocessing=seen_as)).eval()
    whole = replace(seen_as, resize=16)  # all of a view, where of an image the middle is seen
    pictures = views.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    with torch.inference_mode():
        expected = second(torch.stack([whole.of_pixels(picture) for picture in pictures]))[:, [2, 0]]
    for asked in (views, views.float()):
        before = asked.clone()
        logits = ConsistentTeachers([second], images.classes, channels, torch.device("cpu"), "float32")(asked)
        assert logits.dtype == torch.float32
        assert torch.allclose(logits, expected, atol=0.02)  # Pillow rounds to whole numbers
        assert torch.equal(asked, before)
    if channels == 1:
        both = ConsistentTeachers([second, teacher], images.classes, 1, torch.device("cpu"), "float32")(views)
        assert torch.allclose(both, (logits + views[:, 0, 0, 0, None] + torch.tensor([[0.5, 0.0]])) / 2)


def test_views_that_it_cannot_be_shown(images: LabelledImages, teacher: ExternalNetwork) -> None:
    for channels, interpolation in ((3, "bilinear"), (1, "lanczos")):
        teacher.card = replace(teacher.card, preprocessing=replace(teacher.transform, interpolation=interpolation))
        with pytest.raises(ValueError, match="leave consistent out"):
            ConsistentTeachers([teacher], images.classes, channels, torch.device("cpu"), "float32")
