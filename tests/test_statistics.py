from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bagnet.statistics import Resamples, bootstrap, correlation, kappa, mean, mean_of_shares, pearson, roc_auc, shares, spearman


def test_pearson_and_spearman_are_scipys() -> None:
    first, second = np.random.default_rng(0).normal(size=(2, 50)).round(1)  # rounded, so that some are equal
    assert pearson(first, second) == pytest.approx(stats.pearsonr(first, second)[0], abs=1e-12)
    assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second)[0], abs=1e-12)


def test_what_does_not_vary_has_no_correlation() -> None:
    assert np.isnan(pearson([1, 1, 1], [1, 2, 3]))
    assert np.isnan(spearman([1, 2, 3], [5, 5, 5]))


def test_kappa_by_hand() -> None:
    # Both right on half of the images. Agreement 3/4, chance 1/2.
    assert kappa([1, 1, 0, 0, 1, 1, 0, 0], [1, 1, 0, 0, 1, 0, 1, 0]) == pytest.approx(0.5)
    assert kappa([1, 0, 1, 0], [1, 0, 1, 0]) == 1.0
    assert kappa([1, 0, 1, 0], [0, 1, 0, 1]) == -1.0
    assert np.isnan(kappa([1, 1], [1, 1]))


def test_bootstrap_of_a_mean_has_the_width_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    estimate = mean(values)
    assert estimate.value == pytest.approx(values.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(1.96 * values.std() / 20, rel=0.1)
    assert estimate == mean(values), "the same draws each time"


def test_a_share_has_wilsons_interval() -> None:
    low, high = stats.binomtest(3, 20).proportion_ci(method="wilson")
    estimate = mean([1.0] * 3 + [0.0] * 17)
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    assert mean([0, 0, 0, 0]).high > 0.4, "none of four is not none of all"


def test_bootstrap_draws_rows_together() -> None:
    line = np.arange(20.0)
    estimate = correlation(line, 2 * line + 1)
    assert estimate.low == pytest.approx(1.0)
    assert estimate.text(2) == "1.00 [1.00, 1.00]"


def test_bootstrap_of_nothing() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap([], np.mean)


def test_shares_of_groups_of_which_one_is_empty() -> None:
    first, empty = shares([3, 0], [20, 0])
    for count in (0, 1, 7, 20):
        (share,) = shares([count], [20])
        interval = stats.binomtest(count, 20).proportion_ci(method="wilson")
        assert (share.low, share.high) == pytest.approx((interval.low, interval.high), abs=1e-12)
    assert (first.value, first.low, first.high) == pytest.approx((0.15, *stats.binomtest(3, 20).proportion_ci(method="wilson")))
    assert np.isnan(empty.value)


def test_the_mean_of_one_groups_share_has_its_interval() -> None:
    single, (share,) = mean_of_shares([3, 0], [20, 0]), shares([3], [20])
    assert (single.value, single.low, single.high) == pytest.approx((share.value, share.low, share.high))
    assert np.isnan(mean_of_shares([0], [0]).value)


def test_the_mean_of_shares_by_hand() -> None:
    """Two groups alike: their mean is known better by the square root of two."""
    (share,) = shares([15], [20])
    both = mean_of_shares([15, 15], [20, 20])
    assert both.value == 0.75
    assert both.low == pytest.approx(0.75 - (0.75 - share.low) / 2**0.5)
    assert both.high == pytest.approx(0.75 + (share.high - 0.75) / 2**0.5)


def test_the_mean_of_shares_is_where_its_interval_says() -> None:
    """In about 95 % of 2,000 samples of small, unequal groups; where all are right, too."""
    truth, totals = np.array([0.95, 0.7, 0.4]), np.array([40, 12, 8])
    random = np.random.default_rng(0)
    estimates = [mean_of_shares(random.binomial(totals, truth), totals) for _ in range(2000)]
    assert np.mean([estimate.low <= truth.mean() <= estimate.high for estimate in estimates]) == pytest.approx(0.95, abs=0.02)
    sure = mean_of_shares([5, 5], [5, 5])
    assert (sure.value, sure.high) == (1.0, 1.0)
    assert sure.low < 0.8


def test_the_area_under_the_roc_curve_by_hand() -> None:
    """Of 2 x 3 pairs four are in order and one is level."""
    estimate = roc_auc([3.0, 1.0, 2.0, 1.0, 0.0], [True, True, False, False, False])
    assert estimate.value == pytest.approx(4.5 / 6)
    assert 0 < estimate.low < 4.5 / 6 < estimate.high < 1
    assert np.isnan(roc_auc([1.0, 2.0], [True, True]).value)


def test_the_ends_of_an_area_are_1_96_standard_errors_away() -> None:
    """As Newcombe (2006) has it; so also where the classes are told apart without a mistake, and the other way round."""
    scores, truth = np.arange(20.0), np.arange(20) >= 8
    sure = roc_auc(scores, truth)
    assert (sure.value, sure.high) == (1.0, 1.0)
    low, positive, negative = sure.low, 12, 8
    spread = 1 + (10 - 1) * ((1 - low) / (2 - low) + low / (1 + low))
    assert 1 - low == pytest.approx(1.959964 * (low * (1 - low) * spread / (positive * negative)) ** 0.5, rel=1e-5)
    mirrored = roc_auc(-scores, truth)
    assert (mirrored.value, mirrored.low) == (0.0, 0.0)
    assert mirrored.high == pytest.approx(1 - sure.low)


def test_an_area_is_where_its_interval_says() -> None:
    """Two normal distributions 1.5 apart: the area is that of the normal distribution at 1.5 / sqrt(2)."""
    random, area = np.random.default_rng(0), float(stats.norm.cdf(1.5 / 2**0.5))
    truth = np.arange(40) < 15
    inside = [
        (estimate := roc_auc(random.normal(size=40) + 1.5 * truth, truth)).low <= area <= estimate.high for _ in range(1000)
    ]
    assert 0.94 < np.mean(inside) < 0.985


def test_groups_are_drawn_as_a_whole() -> None:
    resamples = Resamples.of(5, ["b", "a", "b", "c", "a"])
    assert (resamples.units, resamples.unit_of.tolist()) == (3, [1, 0, 1, 2, 0])
    weights = np.concatenate(list(resamples.weights()))
    assert weights.shape == (1000, 5)
    assert np.array_equal(weights[:, [0, 1]], weights[:, [2, 4]])
    assert (weights[:, [0, 1, 3]].sum(1) == 3).all()
    assert resamples.units_with(np.array([True, False, True, False, True])).tolist() == [2]


def test_images_by_themselves_are_drawn_as_by_the_bootstrap() -> None:
    values = np.random.default_rng(0).normal(size=30)
    again = Resamples.of(30).estimate(lambda weights: weights @ values / weights.sum(1))
    expected = bootstrap(values, lambda rows: float(rows.mean()))
    assert (again.value, again.low, again.high) == pytest.approx((expected.value, expected.low, expected.high))
