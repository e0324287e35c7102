"""Evidence answers questions about itself, refuses to be inconsistent, and survives being saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bagnet.data.names import AmbiguousClass, ClassName, ClassNames, UnknownClass
from bagnet.evidence import Evidence
from bagnet.evidence.explain import left_out
from bagnet.geometry import Axis, Box, Geometry, Placement

CLASSES = ClassNames(
    [ClassName(("crane",), "n02012849"), ClassName(("crane",), "n03126707"), ClassName(("tabby", "tabby cat"), "n02123045")]
)


@pytest.fixture
def evidence() -> Evidence:
    """Windows of 9 px every 8 on 25 x 33 px: a 3 x 4 grid, by hand."""
    values = np.zeros((3, 3, 4), np.float32)
    values[0] = np.arange(12).reshape(3, 4)  # mean 5.5, strongest at (2, 3), then (2, 2)
    values[1] = -1.0
    values[2, 1, 1] = 24.0  # mean 2
    return Evidence(
        values, values.mean((1, 2)), Geometry(9, 8), Placement.identity(25, 33), CLASSES, Image.new("RGB", (33, 25)), "m", "p"
    )


def test_top(evidence: Evidence) -> None:
    assert [(answer.index, answer.name, answer.logit) for answer in evidence.top(5)] == [
        (0, "crane", 5.5),
        (2, "tabby", 2.0),
        (1, "crane", -1.0),
    ]
    expected = np.exp([5.5, -1.0, 2.0]) / np.exp([5.5, -1.0, 2.0]).sum()
    assert evidence.probabilities == pytest.approx(expected)
    assert evidence.top(1)[0].probability == pytest.approx(expected[0])


def test_a_temperature_changes_probabilities_alone(evidence: Evidence, tmp_path: Path) -> None:
    warm = replace(evidence, temperature=2.0)
    expected = np.exp([2.75, -0.5, 1.0]) / np.exp([2.75, -0.5, 1.0]).sum()
    assert warm.probabilities == pytest.approx(expected)
    assert [answer.logit for answer in warm.top(3)] == [5.5, 2.0, -1.0]
    assert (warm.map(0) == evidence.map(0)).all()
    assert warm != evidence
    warm.save(tmp_path / "a.npz")
    assert Evidence.load(tmp_path / "a.npz") == warm
    assert replace(warm, multilabel=True).probabilities == pytest.approx(1 / (1 + np.exp([-2.75, 0.5, -1.0])))


def test_classes_that_are_left_out_count_at_the_temperature(evidence: Evidence) -> None:
    rest = left_out(torch.tensor([5.5, -1.0, 2.0, 4.0, 3.0]), [0, 1, 2], 2.0)
    shares = np.exp(np.array([5.5, -1.0, 2.0, 4.0, 3.0]) / 2)
    assert replace(evidence, temperature=2.0, left_out=rest).probabilities == pytest.approx(shares[:3] / shares.sum())
    assert left_out(torch.tensor([1.0, 2.0]), [0, 1], 2.0) == -np.inf


def test_map_by_index_id_and_name(evidence: Evidence) -> None:
    for target in (2, "n02123045", "Tabby", "tabby cat"):
        assert evidence.map(target)[1, 1] == 24.0
    assert evidence.map()[2, 3] == 11.0  # the best class
    with pytest.raises(AmbiguousClass, match=r"n02012849.*n03126707"):
        evidence.map("crane")
    with pytest.raises(UnknownClass, match="did you mean 'tabby'"):
        evidence.map("taby")
    with pytest.raises(UnknownClass, match="0 to 2"):
        evidence.map(3)


def test_difference(evidence: Evidence) -> None:
    difference = evidence.difference("tabby", 1)
    assert difference[1, 1] == 25.0
    assert difference.mean() == pytest.approx(3.0)


def test_windows(evidence: Evidence) -> None:
    first, second = evidence.windows(0, 2)
    assert (first.box, first.logit, first.row, first.column) == (Box(24, 16, 33, 25), 11.0, 2, 3)
    assert (second.row, second.column) == (2, 2)
    assert [(w.row, w.column) for w in evidence.windows(0, 2, apart=9)] == [(2, 3), (2, 1)]
    assert len(evidence.windows(0, 99)) == 12
    for count in (0, -1):
        with pytest.raises(ValueError, match="at least 1"):
            evidence.windows(0, count)
        with pytest.raises(ValueError, match="at least 1"):
            evidence.top(count)
    best = evidence.windows(0, 1, versus="tabby")[0]
    assert (best.row, best.column) == (2, 3)


def test_values_cannot_be_changed(evidence: Evidence) -> None:
    with pytest.raises(ValueError, match="read-only"):
        evidence.map(0)[0, 0] = 1.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"logits": np.array([5.5, -1.0, 2.001], np.float32)}, "away from its logit"),
        ({"logits": np.array([5.5, -1.0, np.nan], np.float32)}, "away from its logit"),
        ({"geometry": Geometry(9, 4)}, "evidence of shape"),
        ({"classes": ClassNames.numbered(4)}, "evidence of shape"),
        ({"image": Image.new("RGB", (34, 25))}, "an image of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(evidence: Evidence, change: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(evidence, **change)  # type: ignore[arg-type]


def test_saved_and_loaded_it_is_the_same(evidence: Evidence, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (25, 33, 3), dtype=np.uint8)
    evidence = replace(evidence, image=Image.fromarray(noise))
    evidence.save(tmp_path / "e.npz")
    again = Evidence.load(tmp_path / "e.npz")
    for field in ("geometry", "placement", "classes", "model", "source"):
        assert getattr(again, field) == getattr(evidence, field)
    assert again.values.dtype == evidence.values.dtype
    assert np.array_equal(again.values, evidence.values)
    assert np.array_equal(again.logits, evidence.logits)
    assert np.array_equal(np.asarray(again.image), noise)
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"]


def test_bad_files_are_refused(evidence: Evidence, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        Evidence.load(tmp_path / "none.npz")
    evidence.save(tmp_path / "e.npz")
    whole = (tmp_path / "e.npz").read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad.npz: not a file of evidence"):
            Evidence.load(tmp_path / "bad.npz")
    np.savez(tmp_path / "bad.npz", record=np.array([{"a": 1}], dtype=object))  # a pickle inside
    with pytest.raises(ValueError, match=r"bad.npz: not a file of evidence"):
        Evidence.load(tmp_path / "bad.npz")


def test_an_output_that_cannot_be_written_leaves_nothing(evidence: Evidence, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot be written"):
        evidence.save(tmp_path / "file" / "e.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="cannot be written"):
        evidence.save(tmp_path / "folder.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_a_heat_map_has_each_cell_where_it_is_drawn(evidence: Evidence) -> None:
    """8 x 8 squares from the first pixel on; the last row and the last column of 25 x 33 pixels have no cell."""
    heatmap = evidence.heatmap(0)
    assert (heatmap.shape, heatmap.dtype) == ((25, 33), np.float32)
    assert np.array_equal(heatmap[:24, :32], np.arange(12).reshape(3, 4).repeat(8, 0).repeat(8, 1))
    assert not heatmap[24].any()
    assert not heatmap[:, 32].any()
    assert np.array_equal(evidence.heatmap(0, size="input"), heatmap)
    assert evidence.heatmap("tabby", 1)[9, 9] == 25.0
    with pytest.raises(ValueError, match="there are photo and input"):
        evidence.heatmap(0, size="screen")  # type: ignore[arg-type]


def test_a_heat_map_of_a_photograph_goes_through_resize_and_crop(evidence: Evidence) -> None:
    """A photograph of twice the size, of which the crop leaves out four columns at either side."""
    axes = Axis(66 + 8, 33 + 4, 2, 33, 1.0), Axis(50, 25, 0, 25, 1.0)
    seen = replace(evidence, placement=Placement(*axes), image=Image.new("RGB", (74, 50)))
    heatmap = seen.heatmap(0)
    assert heatmap.shape == (50, 74)
    assert not heatmap[:, :4].any()
    assert not heatmap[:, 4 + 64 :].any()
    assert np.array_equal(heatmap[:48, 4:68], np.arange(12).reshape(3, 4).repeat(16, 0).repeat(16, 1))
    assert np.array_equal(seen.heatmap(0, size="input"), evidence.heatmap(0))


def test_spread_over_its_windows_evidence_still_adds_up() -> None:
    """Windows of 5 pixels every 3: a pixel is held by up to four; weighted with their number the mean is the logit."""
    random = np.random.default_rng(0)
    values = random.normal(size=(2, 3, 4)).astype(np.float32)
    geometry = Geometry(5, 3)
    height, width = 11, 15  # a column beyond the last window
    spread = Evidence(
        values,
        values.mean((1, 2)),
        geometry,
        Placement.identity(height, width),
        ClassNames(CLASSES[:2]),
        Image.new("RGB", (width, height)),
    )
    means = spread.heatmap(0, size="input", spread="windows")
    held, sums = np.zeros((height, width)), np.zeros((height, width))
    for row in range(3):
        for column in range(4):
            held[geometry.window(row, column).slices] += 1
            sums[geometry.window(row, column).slices] += values[0, row, column]
    assert held.max() == 4
    assert np.allclose(means, np.divide(sums, held, out=np.zeros_like(sums), where=held > 0), atol=1e-6)
    assert not means[:, 14].any()
    assert (means * held).sum() / held.sum() == pytest.approx(float(spread.logits[0]), abs=1e-6)
    assert np.array_equal(spread.heatmap(0, spread="windows"), means)
    with pytest.raises(ValueError, match="there is no spread 'far': there are cells and windows"):
        spread.heatmap(0, spread="far")  # type: ignore[arg-type]


def test_regions_hold_the_share_that_is_asked_for(evidence: Evidence) -> None:
    (whole,) = evidence.regions("tabby", 1.0)
    assert (whole.box, whole.share) == (Box(8, 8, 16, 16), 1.0)
    assert np.argwhere(whole.mask).tolist() == [[1, 1]]
    strongest = evidence.regions(0, 0.3)  # 11 + 10 of 66 are 0.318
    assert [(region.box, round(region.share * 66)) for region in strongest] == [(Box(16, 16, 32, 24), 21)]
    assert evidence.regions(1) == []
    for share in (0.0, 1.1):
        with pytest.raises(ValueError, match="must be above 0 and at most 1"):
            evidence.regions(0, share)


def test_regions_apart_are_two_and_corners_touch(evidence: Evidence) -> None:
    values = np.zeros((3, 3, 4), np.float32)
    values[0, 0, 0] = values[0, 1, 1] = 2.0
    values[0, 0, 3] = 3.0
    apart = replace(evidence, values=values, logits=values.mean((1, 2)))
    assert [(region.box, round(7 * region.share)) for region in apart.regions(0, 1.0)] == [
        (Box(0, 0, 16, 16), 4),
        (Box(24, 0, 32, 8), 3),
    ]


def test_one_line_says_what_it_is(evidence: Evidence) -> None:
    assert repr(evidence) == "Evidence(p: crane 96.9 %; 3 x 4 windows of 9 px, 3 classes, m)"


def test_equal_is_what_is_equal_in_everything(evidence: Evidence) -> None:
    twin = replace(evidence, image=evidence.image.copy())
    assert evidence == twin
    assert hash(evidence) == hash(twin)
    assert evidence != replace(evidence, source="q")
    assert evidence != replace(evidence, image=Image.new("RGB", (33, 25), "red"))
    assert evidence != "evidence"


def test_notebooks_show_its_picture(evidence: Evidence) -> None:
    assert evidence._repr_png_().startswith(b"\x89PNG")


def test_a_weak_class_among_those_left_out_is_judged_by_the_strong_ones() -> None:
    """Its map's mean is off by the rounding of logits of 20, which its own of 0.001 would not excuse."""
    values = np.full((1, 1, 2), 0.001, np.float32)
    classes, image = ClassNames([ClassName(("weak",))]), Image.new("RGB", (17, 9))
    shape = (Geometry(9, 8), Placement.identity(9, 17), classes, image)
    logits = np.array([0.001 + 5e-5], np.float32)
    with pytest.raises(ValueError, match="away from its logit"):
        Evidence(values, logits, *shape)
    assert Evidence(values, logits, *shape, left_out=20.0).top(1)[0].name == "weak"


def test_the_indices_of_classes_among_the_models(evidence: Evidence) -> None:
    assert evidence.indices_among(evidence.classes) == [0, 1, 2]
    more = ClassNames([ClassName(("before",)), *list(evidence.classes)[::-1], ClassName(("after",))])
    assert evidence.indices_among(more) == [3, 2, 1]


def test_evidence_that_cancels_out_is_allowed_the_rounding_of_what_it_is_the_sum_of() -> None:
    """A logit near 0, of windows at +-1: float32 knows it to 1e-7 of these, not of itself."""
    values = np.resize(np.array([1.0, -1.0], np.float32), (1, 4, 4))
    rest = (Geometry(9, 8), Placement.identity(33, 33), ClassNames.numbered(1), Image.new("RGB", (33, 33)))
    assert Evidence(values, np.array([1e-6]), *rest).top(1)[0].logit == 1e-6
    with pytest.raises(ValueError, match="2e-05 away from its logit, more than 1e-05 of the logits' size"):
        Evidence(values, np.array([2e-5]), *rest)
