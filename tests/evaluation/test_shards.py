"""Parts that are joined give the numbers of one run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bagnet.data.decode import BadImage
from bagnet.data.labels import BadLabels
from bagnet.evaluation import shards
from bagnet.evaluation.evaluate import Evaluation, evaluate
from bagnet.evaluation.shards import check_asked, evaluate_part, merge_evaluations
from bagnet.runs.store import OtherRun
from bagnet.runs.sweep import Batch

from .colours import folder_of, reader


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Seven images, a broken one among them."""
    folder = folder_of(tmp_path / "photos", {"red": ["red", "red", "green"], "blue": ["blue"], "green": ["green"] * 3})
    (folder / "val" / "red" / "0.png").write_bytes(b"broken")
    return folder


def test_parts_are_one_evaluation(data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in (1, 2, 3)]
    counts = [evaluate_part(reader(), data, (number, 3), folders[number - 1], workers=0, batch_size=2) for number in (1, 2, 3)]
    assert sum(counts) == 7
    whole, merged = evaluate(reader(), data, workers=0), merge_evaluations(folders[::-1])
    assert np.array_equal(merged.scores, whole.scores)
    assert np.array_equal(merged.labels, whole.labels)
    assert merged.names == whole.names
    assert (merged.bad, merged.model, merged.data, merged.window) == (whole.bad, whole.model, whole.data, whole.window)
    assert merged.classes == whole.classes
    assert merged.seconds > 0
    assert merged.to_dict()["confused"] == whole.to_dict()["confused"]
    with pytest.raises(ValueError, match=r"there are the parts 1/3, 3/3"):
        merge_evaluations(folders[::2])
    with pytest.raises(OtherRun, match=r"shard \[1, 3\] instead of \[1, 2\]"):
        evaluate_part(reader(), data, (1, 2), folders[0], workers=0)


def test_a_temperature(data: Path, tmp_path: Path) -> None:
    warm = reader()
    assert warm.card is not None
    warm.card = replace(warm.card, temperature=3.0)
    for number in (1, 2):
        evaluate_part(warm, data, (number, 2), tmp_path / str(number), workers=0)
    whole, merged = evaluate(warm, data, workers=0), merge_evaluations([tmp_path / "1", tmp_path / "2"])
    assert merged.temperature == whole.temperature == 3
    assert merged.calibration_error == whole.calibration_error
    with pytest.raises(OtherRun, match="temperature"):
        evaluate_part(reader(), data, (1, 2), tmp_path / "1", workers=0)


def grouped(data: Path) -> Path:
    """Each colour's images belong to two patients, of which some have images of two colours."""
    rows = [f"{path.relative_to(data / 'val').as_posix()},{int(path.stem) % 2}" for path in sorted(data.rglob("*.png"))]
    (data / "who.csv").write_text("\n".join(["image,patient", *rows]))
    return data


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """All measures but of time."""
    return {key: value for key, value in evaluation.to_dict().items() if "second" not in key}


def test_groups_and_a_specificity(data: Path, tmp_path: Path) -> None:
    """Intervals over groups and sensitivities are those of one run, whichever parts have which groups."""
    folders = [tmp_path / str(number) for number in (1, 2, 3)]
    for number, folder in enumerate(folders, 1):
        evaluate_part(reader(), grouped(data), (number, 3), folder, workers=0, group="patient")
    whole = evaluate(reader(), data, workers=0, group="patient", specificity=0.75)
    merged = merge_evaluations(folders, specificity=0.75)
    assert figures(merged) == figures(whole)
    assert (merged.group, merged.groups) == ("patient", whole.groups)
    assert merged.independent == 2
    assert figures(merge_evaluations(folders)) == figures(evaluate(reader(), data, workers=0, group="patient"))
    with pytest.raises(ValueError, match="a specificity lies between 0 and 1"):
        merge_evaluations(folders, specificity=75)
    with pytest.raises(BadLabels, match="no CSV says what the images belong to in a column 'part'"):
        evaluate_part(reader(), data, (1, 3), tmp_path / "other", workers=0, group="part")


def test_a_part_gets_groups_without_being_asked_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for number, folder in enumerate(folders, 1):
        evaluate_part(reader(), grouped(data), (number, 2), folder, workers=0)
    assert merge_evaluations(folders).groups == ()
    asked: list[Any] = []
    real = shards.sweep

    def listening(model: Any, images: Any, rows: Any, **options: Any) -> Any:
        asked.extend(rows)
        return real(model, images, rows, **options)

    monkeypatch.setattr(shards, "sweep", listening)
    evaluate_part(reader(), data, (1, 2), folders[0], workers=0, group="patient")
    with pytest.raises(ValueError, match=r"2: is of another run than .*1, with group"):
        merge_evaluations(folders)
    evaluate_part(reader(), data, (2, 2), folders[1], workers=0, group="patient")
    assert asked == []
    assert figures(merge_evaluations(folders)) == figures(evaluate(reader(), data, workers=0, group="patient"))


def test_whose_answers_parts_are(data: Path, tmp_path: Path) -> None:
    evaluate_part(reader(), data, (1, 1), tmp_path / "1", workers=0)
    check_asked([tmp_path / "1"], reader())
    warm, other = reader(), reader()
    assert warm.card is not None
    warm.card = replace(warm.card, temperature=3.0)
    with torch.no_grad():
        other.network[2].weight[0, 0] = 9.0
    for model in (warm, other):
        with pytest.raises(ValueError, match=r"1: holds answers of reader\.colours, and .* has other weights or another temp"):
            check_asked([tmp_path / "1"], model)


def test_several_labels(data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "a", tmp_path / "b"]
    for number, folder in enumerate(folders, 1):
        evaluate_part(reader(multilabel=True), data, (number, 2), folder, workers=0)
    whole, merged = evaluate(reader(multilabel=True), data, workers=0), merge_evaluations(folders)
    assert np.array_equal(merged.labels, whole.labels)
    assert merged.mean_average_precision == whole.mean_average_precision


def test_a_part_goes_on_where_it_stopped(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = shards.sweep

    def dies(model: Any, images: Any, rows: Any, **options: Any) -> Any:
        asked.append(list(rows))
        for number, batch in enumerate(real(model, images, rows, **options)):
            if len(asked) == 1 and number == 2:
                raise KeyboardInterrupt
            yield Batch(batch.rows, batch.x, batch.bad)

    monkeypatch.setattr(shards, "sweep", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate_part(reader(), data, (1, 1), tmp_path / "out", workers=0, batch_size=2)
    with pytest.raises(ValueError, match="not finished"):
        merge_evaluations([tmp_path / "out"])
    evaluate_part(reader(), data, (1, 1), tmp_path / "out", workers=0, batch_size=2)
    assert len(asked[0]) == 7
    assert 0 < len(asked[1]) < 7
    assert np.array_equal(merge_evaluations([tmp_path / "out"]).scores, evaluate(reader(), data, workers=0).scores)


def test_no_image_that_can_be_read(tmp_path: Path) -> None:
    data = folder_of(tmp_path / "photos", {"red": ["red"], "blue": ["blue"]})
    for path in data.rglob("*.png"):
        path.write_bytes(b"broken")
    evaluate_part(reader(), data, (1, 1), tmp_path / "out", workers=0)
    with pytest.raises(BadImage, match="none of 2 images can be used"):
        merge_evaluations([tmp_path / "out"])
