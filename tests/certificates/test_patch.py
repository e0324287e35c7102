from __future__ import annotations

from collections.abc import Sequence

import pytest

from bagnet.certificates import Patch
from bagnet.certificates import patch as patch_module
from bagnet.geometry import Axis, Box, Geometry, Placement, Span


@pytest.mark.parametrize(
    ("text", "patch"),
    [
        ("2%", Patch(share=0.02)),
        ("0.5 %", Patch(share=0.005)),
        ("32photo", Patch(32, 32)),
        ("24x60photo", Patch(24, 60)),
        ("32input", Patch(32, 32, frame="input")),
        ("24x60", Patch(24, 60, frame="")),
    ],
)
def test_words(text: str, patch: Patch) -> None:
    assert Patch.parse(text) == patch


def test_a_set_of_sizes_is_held_by_one() -> None:
    """Whatever either touches, the one that holds both touches; words tell which sizes they were."""
    patch = Patch.parse("4x10photo, 10x4photo")
    assert (patch.height, patch.width) == (10, 10)
    assert str(patch) == "4 x 10 px of the photo or 10 x 4 px of the photo"
    placement, geometry = Placement.identity(40, 40), Geometry(5, 3)
    rows, columns = patch.runs(geometry, placement)
    for text in ("4x10photo", "10x4photo"):
        for runs, wider in zip(Patch.parse(text).runs(geometry, placement), (rows, columns), strict=True):
            assert all(any(wide.start <= run.start and run.stop <= wide.stop for wide in wider) for run in runs)
    assert Patch.parse("1%,2%").share == 0.02
    with pytest.raises(ValueError, match="several kinds"):
        Patch.parse("2%,32photo")


@pytest.mark.parametrize("text", ["", "two", "0", "32cm", "0%", "100%", "3x", "-4"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size of a patch|a patch has a height and a width, or a share"):
        Patch.parse(text)


def test_a_size_without_a_unit_is_ambiguous_where_images_are_resized() -> None:
    resized = Placement(Axis(60, 30, 0, 30, 1.0), Axis(60, 30, 0, 30, 1.0))
    with pytest.raises(ValueError, match="Say 8photo or 8input"):
        Patch.parse("8").size_on(resized)
    assert Patch.parse("8").size_on(Placement.identity(30, 40)) == (8, 8)


def test_larger_than_the_image() -> None:
    with pytest.raises(ValueError, match="a patch of 31 x 8 px is larger than the image, 30 x 40"):
        Patch(31, 8, frame="input").size_on(Placement.identity(30, 40))


def test_a_share_of_the_photograph_is_a_square_at_least_as_large() -> None:
    assert Patch(share=0.02).size_on(Placement.identity(100, 200)) == (20, 20)
    assert Patch(share=0.021).size_on(Placement.identity(100, 200)) == (21, 21)
    assert Patch(share=0.9).size_on(Placement.identity(10, 200)) == (10, 43)


def test_all_that_a_patch_touches_lies_in_one_of_the_runs() -> None:
    """On every place, through the resize filter; and each run is needed."""
    geometry, axis = Geometry(5, 3), Axis(40, 29, 2, 23, 1.0)
    placement = Placement(axis, axis)
    rows, columns = Patch(6, 6).runs(geometry, placement)
    assert rows == columns
    seen = set()
    for start in range(40 - 6 + 1):
        box = placement.influenced_box(Box(start, 0, start + 6, 6))
        cells = geometry.touched(Span(box.left, box.right), 23)
        if cells.length:
            assert any(run.start <= cells.start and cells.stop <= run.stop for run in rows)
            seen.add(cells)
    assert set(rows) <= seen
    assert not any(a != b and a.start <= b.start and b.stop <= a.stop for a in rows for b in rows)


def test_known_runs() -> None:
    """Windows of 4 every 2 on 12 pixels: a patch of 2 touches three of the five windows at most."""
    runs = Patch(2, 2, frame="input").runs(Geometry(4, 2), Placement.identity(12, 12))
    assert runs[0] == (Span(0, 3), Span(1, 4), Span(2, 5))


def test_runs_of_two_grids_are_of_one_place() -> None:
    """A pixel of 6 touches the windows of 2 every 2 and of 3 every 3 that hold it."""
    grids = [(Geometry(2, 2), Placement.identity(6, 6)), (Geometry(3, 3), Placement.identity(6, 6))]
    rows, columns = Patch(1, 1).joint_runs(grids)
    assert (
        rows
        == columns
        == ((Span(0, 1), Span(0, 1)), (Span(1, 2), Span(0, 1)), (Span(1, 2), Span(1, 2)), (Span(2, 3), Span(1, 2)))
    )
    with pytest.raises(ValueError, match="grids on images of several sizes"):
        Patch(1, 1).joint_runs([*grids, (Geometry(3, 3), Placement.identity(9, 9))])


def test_a_region_keeps_patches_within_it() -> None:
    """Windows of 2 every 2 on 8 pixels; patches of 2 within rows 2 to 5 and columns 0 to 2."""
    patch = Patch(2, 2, frame="input", region=Box(0, 2, 3, 5))
    assert str(patch) == "2 x 2 px of the input within 0, 2, 3, 5"
    rows, columns = patch.runs(Geometry(2, 2), Placement.identity(8, 8))
    assert rows == (Span(1, 3),)
    assert columns == (Span(0, 2),)
    with pytest.raises(ValueError, match="does not fit into the region"):
        Patch(4, 2, frame="input", region=Box(0, 2, 3, 5)).runs(Geometry(2, 2), Placement.identity(8, 8))
    with pytest.raises(ValueError, match="is not within the image, 4 x 8 px"):
        patch.runs(Geometry(2, 2), Placement.identity(4, 8))


def test_runs_of_a_long_photograph_are_compared_with_their_neighbours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0

    def counting(runs: Sequence[Span], wider: Sequence[Span]) -> bool:
        nonlocal compared
        compared += 1
        return within(runs, wider)

    within = patch_module._within
    monkeypatch.setattr(patch_module, "_within", counting)
    windows = ((Geometry(8, 4, 0), Axis(500, 500, 0, 500, 1.0)),)
    runs = patch_module._runs(windows, 3, Span(0, 500), of_photo=True)
    assert runs == tuple((Span(cell, cell + 3),) for cell in range(122))  # across an edge, of three windows
    assert compared < 1_000
