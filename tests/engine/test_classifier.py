"""The contract: what satisfies `Predictor` or `Classifier` does all that they promise, whatever runs it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from bagnet.engine.classifier import Classifier, Predictor, has_evidence, model_name
from bagnet.engine.inference import exact
from bagnet.geometry import Box, Geometry
from bagnet.model import BagNet

from .classifiers import SUBJECTS, WORDS, Subject, small_bagnet, small_external

WITH_EVIDENCE = [name for name, subject in SUBJECTS.items() if subject.windows is not None]
HEIGHT, WIDTH = 41, 57


@pytest.fixture(scope="module", params=SUBJECTS)
def subject(request: pytest.FixtureRequest) -> Subject:
    return SUBJECTS[request.param]


@pytest.fixture(scope="module")
def predictor(subject: Subject) -> Predictor:
    return subject.build()


@pytest.fixture(scope="module", params=WITH_EVIDENCE)
def classifier(request: pytest.FixtureRequest) -> Classifier:
    model = SUBJECTS[request.param].build()
    assert has_evidence(model)
    return model


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def images(count: int = 2, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.randn((count, 3, height, width), generator=torch.Generator().manual_seed(2))


def close(values: Tensor, expected: Tensor) -> bool:
    assert values.shape == expected.shape
    return bool((values - expected).abs().max() <= 1e-5 * expected.abs().max())


class TestPredictor:
    """What everything that classifies does."""

    def test_it_says_what_it_is(self, predictor: Predictor, subject: Subject) -> None:
        assert predictor.card is not None
        assert predictor.name == predictor.card.architecture.name
        assert model_name(predictor) == predictor.card.name
        assert predictor.runtime == subject.runtime
        assert predictor.precision == "float32"
        assert predictor.geometry == (None if subject.windows is None else Geometry(*subject.windows))
        assert has_evidence(predictor) == (subject.windows is not None)

    def test_logits_of_batches_of_any_number_and_size(self, predictor: Predictor) -> None:
        assert tuple(str(name) for name in predictor.classes) == WORDS
        assert predictor.num_classes == 5
        for shape in ((2, HEIGHT, WIDTH), (1, 64, 64)):
            logits = predictor(images(*shape))
            assert logits.shape == (shape[0], 5)
            assert logits.dtype == torch.float32

    def test_each_image_is_answered_by_itself(self, predictor: Predictor) -> None:
        x = images()
        assert close(torch.cat([predictor(x[:1]), predictor(x[1:])]), predictor(x))

    def test_it_takes_what_its_transform_gives(self, predictor: Predictor) -> None:
        photograph = np.random.default_rng(0).integers(0, 256, (260, 300, 3), dtype=np.uint8)
        x = predictor.transform(Image.fromarray(photograph))
        height, width = predictor.transform.placement((300, 260)).input_size
        assert x.shape == (3, height, width)
        predictor.check(x[None])
        assert predictor(x[None]).isfinite().all()

    @pytest.mark.parametrize("shape", [(3, 40, 40), (1, 1, 40, 40), (1, 4, 40, 40), (40, 40), (1, 3, 40, 40, 1)])
    def test_other_tensors_are_refused_with_their_shape(self, predictor: Predictor, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"takes a batch of shape \(B, 3, H, W\), got \(") as caught:
            predictor.check(torch.zeros(shape))
        assert str(caught.value).startswith(predictor.name)
        assert str(caught.value).endswith(str(shape))

    def test_its_weights_are_known_again(self, predictor: Predictor, subject: Subject) -> None:
        before = predictor.weights_digest
        assert len(bytes.fromhex(before)) == 32
        predictor(images())
        assert predictor.weights_digest == before
        assert subject.other_weights().weights_digest != before

    def test_answering_changes_nothing(self, predictor: Predictor) -> None:
        x = images()
        before, digest, logits = x.clone(), predictor.weights_digest, predictor(x).clone()
        modules = list(predictor.modules()) if isinstance(predictor, nn.Module) else []
        modes = [module.training for module in modules]
        predictor.check(x)
        if has_evidence(predictor):
            predictor.evidence(x)
            predictor.logits_and_evidence(x)
            predictor.at_stride(1)
        assert torch.equal(predictor(x), logits)
        assert torch.equal(x, before)
        assert [module.training for module in modules] == modes
        assert predictor.weights_digest == digest

    def test_exact_mode_gives_the_answers_of_eval_mode_and_puts_back_training_mode(self, predictor: Predictor) -> None:
        x = images()
        logits = predictor(x).clone()
        if isinstance(predictor, nn.Module):
            predictor.train()
        try:
            with exact(predictor):
                assert torch.equal(predictor(x), logits)
            assert all(module.training for module in (predictor.modules() if isinstance(predictor, nn.Module) else ()))
        finally:
            if isinstance(predictor, nn.Module):
                predictor.eval()


class TestClassifier:
    """What a bag of windows does beside that."""

    def test_the_mean_of_the_evidence_is_the_logits(self, classifier: Classifier) -> None:
        x = images()
        logits, evidence = classifier(x), classifier.evidence(x)
        assert evidence.shape == (2, 5, *classifier.geometry.grid(HEIGHT, WIDTH))
        assert close(evidence.mean((2, 3)), logits)
        both = classifier.logits_and_evidence(x)
        assert close(both[0], logits)
        assert close(both[1], evidence)
        assert {values.dtype for values in (evidence, *both)} == {torch.float32}

    def test_an_image_of_one_window_has_one_cell(self, classifier: Classifier) -> None:
        side = classifier.geometry.smallest_input
        x = images(2, side, side)
        assert classifier.evidence(x).shape == (2, 5, 1, 1)
        assert close(classifier.evidence(x)[..., 0, 0], classifier(x))

    def test_only_cells_whose_windows_touch_a_change_change(self, classifier: Classifier) -> None:
        x, box = images(1), Box(20, 9, 27, 15)
        edited = x.clone()
        edited[(..., *box.slices)] += 3.0
        moved = (classifier.evidence(edited) - classifier.evidence(x)).abs().amax((0, 1)) > 1e-5
        touched = torch.zeros_like(moved)
        touched[classifier.geometry.cells_touching(box, HEIGHT, WIDTH).slices] = True
        assert 0 < touched.sum() < touched.numel()
        assert torch.equal(moved, touched)

    def test_classes_come_in_the_order_asked_for(self, classifier: Classifier) -> None:
        x = images()
        assert close(classifier.evidence(x, [3, 0, 3]), classifier.evidence(x)[:, [3, 0, 3]])
        features = classifier.features(x)
        pooled = features.mean((2, 3))
        assert close(classifier.head(pooled, [4, 1]), classifier(x)[:, [4, 1]])
        for wrong in ([5], [0, -1]):
            with pytest.raises(IndexError, match="there is no class"):
                classifier.evidence(x, wrong)
        with pytest.raises(ValueError, match="no classes are asked for"):
            classifier.head(features, [])

    def test_features_and_head_are_the_two_halves(self, classifier: Classifier) -> None:
        x = images()
        features = classifier.features(x)
        assert features.shape == (2, classifier.num_features, *classifier.geometry.grid(HEIGHT, WIDTH))
        assert close(classifier.head(features), classifier.evidence(x))
        assert close(classifier.head(features.mean((2, 3))), classifier(x))
        assert classifier.head(features.bfloat16()).dtype == torch.float32, "the head computes in float32 always"

    def test_features_are_not_overwritten_by_the_next(self, classifier: Classifier) -> None:
        features, evidence = classifier.features(images()), classifier.evidence(images())
        kept = features.clone(), evidence.clone()
        classifier.features(torch.zeros(2, 3, HEIGHT, WIDTH))
        classifier.evidence(torch.zeros(2, 3, HEIGHT, WIDTH))
        assert torch.equal(features, kept[0])
        assert torch.equal(evidence, kept[1])

    def test_an_image_smaller_than_a_window_is_refused_by_each_call(self, classifier: Classifier) -> None:
        least = classifier.geometry.smallest_input
        if least == 1:  # the padded family, whose smallest windows are nearly all padding
            classifier.check(torch.zeros(1, 3, 1, 1))
            return
        x = torch.zeros(1, 3, 40, least - 1)
        for call in (classifier.check, classifier, classifier.features, classifier.evidence, classifier.logits_and_evidence):
            with pytest.raises(ValueError, match=f"smallest size is {least} x {least}"):
                call(x)

    def test_finer_windows_are_those_of_the_coarse_grid_and_those_between(self, classifier: Classifier) -> None:
        finer = classifier.at_stride(1)
        coarse, stride = classifier.geometry, classifier.geometry.stride
        assert finer.geometry == Geometry(coarse.size, 1, coarse.origin)
        assert finer.num_classes == 5
        x = images(1, 25, 33)
        values = finer.evidence(x)
        assert values.shape == (1, 5, *finer.geometry.grid(25, 33))
        assert close(values[..., ::stride, ::stride], classifier.evidence(x))
        assert classifier.geometry == coarse, "it stays as it was"

    def test_its_own_stride_is_itself(self, classifier: Classifier) -> None:
        assert classifier.at_stride(classifier.geometry.stride) is classifier
        assert classifier.at_stride(3 * classifier.geometry.stride) is classifier
        with pytest.raises(ValueError, match="at least 1"):
            classifier.at_stride(0)


def test_whoever_runs_the_same_weights_has_their_digest() -> None:
    digests = {SUBJECTS[name].build().weights_digest for name in ("bagnet", "prepared_torch", "exported")}
    assert digests == {small_bagnet().weights_digest}
    assert small_bagnet(padded=True).weights_digest not in digests


def test_a_model_without_a_card_is_called_as_its_architecture() -> None:
    assert model_name(BagNet(small_bagnet().architecture)) == "bagnet17"
    assert model_name(small_bagnet()) == "bagnet17.untrained"
    assert model_name(small_external()) == "pooled.test"
