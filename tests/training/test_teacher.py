"""A teacher is asked once about each image, whoever asks and however often it was interrupted."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bagnet.architecture import ExternalArchitecture
from bagnet.card import Card
from bagnet.data.arrays import ArrayImages
from bagnet.data.labels import LabelledImages
from bagnet.data.names import ClassNames
from bagnet.data.transforms import Preprocessing
from bagnet.progress import Progress
from bagnet.training.teacher import answers, mean_answers
from bagnet.zoo.external import ExternalNetwork

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


def test_an_image_that_it_cannot_read(teacher: ExternalNetwork, images: LabelledImages, tmp_path: Path) -> None:
    class Broken(ArrayImages):
        def pixels(self, row: int, channels: int) -> np.ndarray:  # type: ignore[type-arg]
            if row == 9:
                raise ValueError("broken")
            return super().pixels(row, channels)

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
