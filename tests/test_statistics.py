from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from bagnet.statistics import bootstrap, correlation, kappa, mean, pearson, spearman


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
