"""Brute force never beats a certificate: every place of a patch, and evidence there that wants another answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bagnet.certificates import Certificate, Patch, check
from bagnet.certificates import margin as margins
from bagnet.certificates.bounded import AGGREGATIONS
from bagnet.certificates.certify import as_question, certificate_of
from bagnet.certificates.voting import MASKS, Masked, covering, vote
from bagnet.data.names import ClassNames
from bagnet.evidence import Evidence
from bagnet.geometry import Axis, Box, Geometry, Placement, Span

CLASSES = 3
Attack = Callable[[Any, np.ndarray, int], list[np.ndarray]]


def evidence_of(values: np.ndarray, geometry: Geometry, placement: Placement) -> Evidence:
    """Of logits that somebody chose."""
    width, height = placement.image_size
    values = values.astype(np.float32)
    return Evidence(
        values, values.mean((1, 2), dtype=np.float64).astype(np.float32), geometry, placement,
        ClassNames.numbered(len(values)), Image.new("RGB", (width, height)),
    )  # fmt: skip


@st.composite
def cases(draw: Any) -> tuple[Evidence, Patch]:
    """Small geometries, of photographs that are resized and cropped or not, and evidence that is close to a decision."""
    size, stride = draw(st.integers(2, 6)), draw(st.integers(2, 5))
    geometry = Geometry(size, stride)
    rows, columns = draw(st.integers(3, 5)), draw(st.integers(3, 5))
    height, width = size + stride * (rows - 1) + draw(st.integers(0, stride - 1)), size + stride * (columns - 1)
    if draw(st.booleans()):
        placement, frame = Placement.identity(height, width), draw(st.sampled_from(["photo", "input"]))
    else:
        vertical, horizontal = (Axis(2 * side - 1, side + 2, 1, side, 1.0) for side in (height, width))
        placement, frame = Placement(horizontal, vertical), draw(st.sampled_from(["photo", "input"]))
    patch = Patch(draw(st.integers(1, 3)), draw(st.integers(1, 3)), frame=frame)
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    grid = geometry.grid(height, width)
    values = random.normal(0, 3, (CLASSES, *grid))
    values[0] += draw(st.sampled_from([0.0, 3.0, 8.0]))
    return evidence_of(values, geometry, placement), patch


def touched(evidence: Evidence, patch: Patch) -> list[np.ndarray]:
    """(h, w) which windows hold a pixel that depends on the patch, for each place; by the definition, without our runs."""
    placement, geometry = evidence.placement, evidence.geometry
    height, width = patch.size_on(placement)
    photo = patch.frame == "photo"
    sides = placement.image_size[::-1] if photo else placement.input_size
    found = []
    for top in range(sides[0] - height + 1):
        for left in range(sides[1] - width + 1):
            box = Box(left, top, left + width, top + height)
            changed = placement.influenced_box(box) if photo else box
            cells = np.zeros(evidence.values.shape[1:], bool)
            for row, column in np.ndindex(*cells.shape):
                cells[row, column] = geometry.window(row, column).intersect(changed).area > 0
            found.append(cells)
    return found


def distinct(places: list[np.ndarray]) -> list[np.ndarray]:
    """Each set of windows once."""
    return list({cells.tobytes(): cells for cells in places}.values())


def by_mean(aggregation: str) -> Callable[[np.ndarray], int]:
    """The classifier of margin certificates."""
    return lambda values: int(AGGREGATIONS[aggregation].bound(values).sum((1, 2)).argmax())


def by_vote(certificate: Certificate) -> Callable[[np.ndarray], int]:
    """The classifier of voting certificates."""

    def answer(values: np.ndarray) -> int:
        return vote([Masked(values, certificate.rows, certificate.columns)]).label

    return answer


def outside_each(values: np.ndarray, down: Sequence[Span], across: Sequence[Span]) -> np.ndarray:
    """(K, M) mean logits outside each mask, by definition."""
    means = []
    for rows in down:
        for columns in across:
            left = np.ones(values.shape[1:], bool)
            left[rows.start : rows.stop, columns.start : columns.stop] = False
            means.append(values[:, left].mean(1))
    return np.stack(means, 1)


def attacks(values: np.ndarray, cells: np.ndarray, label: int, random: np.random.Generator) -> list[np.ndarray]:
    """The evidence with what the patch can make of the windows that it touches: for each rival the most, and at random."""
    made = []
    for rival in range(len(values)):
        for low, high in ((-1e3, 1e3), (0.0, 15.0), (np.nan, np.inf)):
            changed = values.copy()
            changed[:, cells] = low
            changed[rival, cells] = high
            made.append(changed)
    changed = values.copy()
    changed[:, cells] = random.normal(0, 50, changed[:, cells].shape)
    return [*made, changed]


def beaten(evidence: Evidence, patch: Patch, answer: Callable[[np.ndarray], int], label: int) -> bool:
    """Whether some attack at some place changes an answer."""
    values, random = evidence.values.astype(np.float64), np.random.default_rng(0)
    return any(
        answer(changed) != label
        for cells in distinct(touched(evidence, patch))
        for changed in attacks(values, cells, label, random)
    )


def certified(evidence: Evidence, patch: Patch, method: str, **options: Any) -> Certificate | None:
    """The certificate; None where masks leave no window."""
    joint = patch.joint_runs([(evidence.geometry, evidence.placement)])
    longest = (max(run.length for (run,) in covering(runs, options.get("masks", MASKS))) for runs in joint)
    left = [2 * length < cells for length, cells in zip(longest, evidence.values.shape[1:], strict=True)]
    return certificate_of(evidence, patch, method, **options) if any(left) else None


@given(cases(), st.sampled_from(list(AGGREGATIONS)))
@settings(max_examples=120)
def test_no_attack_beats_a_margin(case: tuple[Evidence, Patch], aggregation: str) -> None:
    """And where it is refused, an attack wins: the margin is tight but for rounding."""
    evidence, patch = case
    certificate = certificate_of(evidence, patch, "margin", aggregation=aggregation)
    won = beaten(evidence, patch, by_mean(aggregation), certificate.label)
    assert not (certificate.certified and won)
    assert check(certificate) == certificate.certified
    if not certificate.certified and certificate.margin < -1e-3 and aggregation != "probabilities":
        assert won


@given(cases(), st.sampled_from((MASKS, 2, 20)))
@settings(max_examples=80)
def test_no_attack_beats_a_vote(case: tuple[Evidence, Patch], most: int) -> None:
    evidence, patch = case
    certificate = certified(evidence, patch, "voting", masks=most)
    if certificate is None:
        return
    answer = by_vote(certificate)
    assert certificate.label == answer(evidence.values.astype(np.float64))
    if certificate.certified:
        assert not beaten(evidence, patch, answer, certificate.label)
    assert check(certificate) == certificate.certified


@given(cases(), st.sampled_from([1, 2]))
@settings(max_examples=60)
def test_the_label_stays_among_the_best(case: tuple[Evidence, Patch], best: int) -> None:
    evidence, patch = case
    certificate = certificate_of(evidence, patch, "margin", best=best)
    assert check(certificate) == certificate.certified
    if not certificate.certified:
        return
    bound, random = AGGREGATIONS["probabilities"].bound, np.random.default_rng(0)
    values = evidence.values.astype(np.float64)
    for cells in distinct(touched(evidence, patch)):
        for changed in attacks(values, cells, certificate.label, random):
            sums = bound(changed).sum((1, 2))
            assert (sums > sums[certificate.label]).sum() < best


@given(cases())
@settings(max_examples=40)
def test_two_patches_at_once(case: tuple[Evidence, Patch]) -> None:
    evidence, patch = case
    two = Patch(patch.height, patch.width, frame=patch.frame, count=2)
    certificate = certificate_of(evidence, two, "margin")
    assert check(certificate) == certificate.certified
    if certificate.certified:
        values, random, places = evidence.values.astype(np.float64), np.random.default_rng(0), touched(evidence, patch)
        for _ in range(60):
            first, second = (places[number] for number in random.integers(len(places), size=2))
            for changed in attacks(values, first | second, certificate.label, random):
                assert by_mean("probabilities")(changed) == certificate.label


@st.composite
def two_grids(draw: Any) -> tuple[list[Evidence], Patch]:
    """Windows of two sizes on one photograph, on two scales of it, each further apart than its size or less."""
    height, width = draw(st.integers(13, 16)), draw(st.integers(13, 16))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boost = draw(st.sampled_from([0.0, 2.0, 6.0]))
    maps = []
    for size, stride, scale in ((draw(st.integers(2, 5)), draw(st.integers(2, 5)), 1.0), (4, draw(st.integers(3, 6)), 1.5)):
        sides = [round(scale * side) for side in (height, width)]
        down, across = (Axis(side, resized, 0, resized, 1.0) for side, resized in zip((height, width), sides, strict=True))
        geometry = Geometry(size, stride)
        values = random.normal(0, 3, (CLASSES, *geometry.grid(*sides)))
        values[0] += boost
        maps.append(evidence_of(values, geometry, Placement(across, down)))
    return maps, Patch(draw(st.integers(1, 2)), draw(st.integers(1, 2)))


def voted_together(certificate: Certificate, maps: list[np.ndarray]) -> int:
    """The answer of the classifier that certificates of several grids are about."""
    grids = [certificate, *certificate.beside]
    parts = [Masked(values, grid.rows, grid.columns) for values, grid in zip(maps, grids, strict=True)]
    return vote(parts).label


@given(two_grids())
@settings(max_examples=10)
def test_no_attack_beats_windows_of_two_sizes_that_vote_together(case: tuple[list[Evidence], Patch]) -> None:
    maps, patch = case
    try:
        certificate = certificate_of(maps, patch, "voting")
    except ValueError:  # two masks leave no window
        return
    values = [each.values.astype(np.float64) for each in maps]
    assert certificate.label == voted_together(certificate, values)
    assert check(certificate) == certificate.certified
    if not certificate.certified:
        return
    places = zip(*(touched(each, patch) for each in maps), strict=True)
    random = np.random.default_rng(0)
    for place in dict.fromkeys(tuple(cells.tobytes() for cells in place) for place in places):
        cells = [np.frombuffer(each, bool).reshape(old.shape[1:]) for each, old in zip(place, values, strict=True)]
        made = [attacks(old, inside, certificate.label, random) for old, inside in zip(values, cells, strict=True)]
        for changed in zip(*made, strict=True):
            assert voted_together(certificate, list(changed)) == certificate.label


def test_a_region_keeps_a_certificate_that_the_whole_image_has_not() -> None:
    """What a patch could hide lies outside the region, and the checker holds the certificate to it."""
    from bagnet.certificates import Rejected

    values = np.zeros((CLASSES, 6, 6))
    values[0, :2, :2] = 60.0
    evidence = evidence_of(values, Geometry(2, 2), Placement.identity(12, 12))
    assert not certificate_of(evidence, Patch(4, 4), "voting").certified
    within = certificate_of(evidence, Patch(4, 4, region=Box(6, 6, 12, 12)), "voting")
    assert within.certified
    assert check(within)
    with pytest.raises(Rejected, match="no mask covers the rows"):
        check(replace(within, region=Box(0, 0, 12, 12)))
    with pytest.raises(Rejected, match=r"within \(6, 13\) of an axis of 12"):
        check(replace(within, region=Box(6, 6, 13, 13)))


@pytest.mark.parametrize("method", ["voting", "margin"])
def test_the_answer_to_a_question_stays(method: str) -> None:
    """Of a multi-label model: whatever a patch shows, the sign of one class's mean, or of its mean sigmoid, stays."""
    geometry, placement, patch = Geometry(4, 4), Placement.identity(20, 20), Patch(2, 2, frame="input")
    random, held = np.random.default_rng(0), 0
    for _ in range(30):
        values = random.normal(0, 2, (CLASSES, 5, 5))
        values[1] += random.choice([-4.0, 4.0])
        evidence = replace(evidence_of(values, geometry, placement), multilabel=True)
        with pytest.raises(ValueError, match="name one, as in question="):
            certificate_of(evidence, patch, method)
        certificate = certificate_of(as_question(evidence, 1), patch, method)
        assert certificate.label == int(values[1].mean() < 0)
        assert check(certificate) == certificate.certified
        if certificate.certified:
            held += 1
            answer = by_vote(certificate) if method == "voting" else by_mean("probabilities")
            assert not beaten(as_question(evidence, 1), patch, answer, certificate.label)
    assert held >= 5


def test_windows_that_vote_together_are_masked_together() -> None:
    """A mask that leaves the second grid out does not cover what a patch touches there."""
    from bagnet.certificates import Rejected

    placement = Placement.identity(12, 12)
    maps = []
    for geometry in (Geometry(4, 2), Geometry(3, 3)):
        values = np.zeros((CLASSES, *geometry.grid(12, 12)))
        values[0] = 5.0
        maps.append(evidence_of(values, geometry, placement))
    honest = certificate_of(maps, Patch(2, 2), "voting")
    assert honest.certified
    assert check(honest)
    (grid,) = honest.beside
    forged = replace(honest, beside=(replace(grid, rows=(Span(0, 0),) * len(grid.rows)),))
    with pytest.raises(Rejected, match="no mask covers the rows"):
        check(forged)
    with pytest.raises(ValueError, match="margin proves what one model says"):
        certificate_of(maps, Patch(2, 2), "margin")


# --- Certificates that are wrong must not pass the same tests -------------------------------------------------------------------


def found_unsound(test: Callable[[Evidence, Patch], bool], count: int = 400) -> bool:
    """Whether one of many cases of a kind beats a certificate that a planted error has made."""
    random = np.random.default_rng(1)
    for _ in range(count):
        geometry, placement = Geometry(4, 2), Placement.identity(12, 12)
        values = random.normal(0, 2, (CLASSES, *geometry.grid(12, 12)))
        values[0] += random.choice([1.0, 2.0, 4.0, 6.0])
        if test(evidence_of(values, geometry, placement), Patch(2, 2, frame="input")):
            return True
    return False


def test_the_runner_up_alone_is_not_enough() -> None:
    """The runner-up's evidence lies where every patch covers it; another rival's does not, and catches up."""
    geometry, placement, patch = Geometry(4, 2), Placement.identity(12, 12), Patch(2, 2, frame="input")
    values = np.full((CLASSES, 5, 5), -1.0)
    values[0], values[1, 2, 2], values[2, [0, 0, 4, 4], [0, 4, 0, 4]] = 8.75, 15.0, 3.5
    evidence, scores = evidence_of(values, geometry, placement), np.clip(values, 0, 15)
    runs = patch.runs(geometry, placement)
    assert scores.sum((1, 2)).argsort()[::-1].tolist() == [0, 1, 2]
    assert margins.margin(scores[:2], 0, *runs, -15.0).value > 0  # what looks at the runner-up alone
    assert margins.margin(scores, 0, *runs, -15.0).value < 0
    assert margins.margin(scores, 0, *runs, -15.0).rival == 2
    assert beaten(evidence, patch, by_mean("clipped"), 0)


def test_a_window_too_few_is_found() -> None:
    def unsound(evidence: Evidence, patch: Patch) -> bool:
        rows, columns = patch.runs(evidence.geometry, evidence.placement)
        short = [Span(run.start, max(run.start + 1, run.stop - 1)) for run in rows]
        scores = AGGREGATIONS["probabilities"].bound(evidence.values.astype(np.float64))
        label = int(scores.sum((1, 2)).argmax())
        lead = margins.margin(scores, label, short, columns, -1.0)
        return lead.value > 0 and beaten(evidence, patch, by_mean("probabilities"), label)

    assert found_unsound(unsound)


def test_agreement_of_single_masks_does_not_hold_for_a_classifier_that_averages_them() -> None:
    def unsound(evidence: Evidence, patch: Patch) -> bool:
        joint = patch.joint_runs([(evidence.geometry, evidence.placement)])
        down, across = ([run for (run,) in covering(runs)] for runs in joint)

        def averaging(values: np.ndarray) -> int:
            return int(outside_each(values, down, across).mean(1).argmax())

        values = evidence.values.astype(np.float64)
        answers = outside_each(values, down, across).argmax(0)
        agreed = bool((answers == answers[0]).all())
        return agreed and beaten(evidence, patch, averaging, int(answers[0]))

    assert found_unsound(unsound)


def test_masks_beside_the_map_are_rejected() -> None:
    """Of rows -1 to 5, which seem to hold every row: as a slice of the map, they hold the last alone."""
    from bagnet.certificates import Rejected

    values = np.zeros((CLASSES, 5, 5))
    values[1, 2, 2], values[0] = 60.0, 1.0
    evidence = evidence_of(values, Geometry(4, 2), Placement.identity(12, 12))
    honest = certificate_of(evidence, Patch(2, 2, frame="input"), "voting")
    assert honest.label == 0
    forged = replace(honest, label=1, rows=(Span(-1, 5),), columns=(Span(-1, 5),))
    with pytest.raises(Rejected, match="not on the map"):
        check(forged)


def test_an_edited_certificate_is_rejected(tmp_path: Any) -> None:
    from bagnet.certificates import Rejected

    values = np.zeros((CLASSES, 5, 5))
    values[0] = 10.0
    certificate = certificate_of(
        evidence_of(values, Geometry(4, 2), Placement.identity(12, 12)), Patch(2, 2, frame="input"), "voting"
    )
    assert certificate.certified
    certificate.save(tmp_path / "good.npz")
    assert check(tmp_path / "good.npz")
    both = certificate_of(
        [evidence_of(values, Geometry(4, 2), Placement.identity(12, 12))] * 2, Patch(2, 2, frame="input"), "voting"
    )
    both.save(tmp_path / "both.npz")
    assert check(tmp_path / "both.npz")
    with np.load(tmp_path / "good.npz") as file:
        evidence, text = file["evidence"], str(file["statement"])
    edits = {
        "evidence": (np.zeros_like(evidence), text),
        "verdict": (evidence, text.replace('"certified": true', '"certified": false')),
        "mask": (evidence, text.replace('"rows": [[', '"rows": [[0, 1], [')),
    }
    for name, (changed, said) in edits.items():
        np.savez(tmp_path / f"{name}.npz", evidence=changed, statement=np.array(said))
        with pytest.raises(Rejected):
            check(tmp_path / f"{name}.npz")
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(Rejected, match="is no certificate, or damaged"):
        check(tmp_path / "text.npz")
