"""Ratios and shares are those of the medians, and what has no figure says None."""

from __future__ import annotations

import json
from math import isnan

from bagnet.bench.cases import Case
from bagnet.bench.result import Bench, Timing


def test_ratios_and_shares_are_those_of_the_medians() -> None:
    plain, fast = Case(how="published"), Case(runtime="openvino")
    timings = [
        Timing(plain, [4.0, 9.0, 4.0], executed="float32", multiply_adds=100),
        Timing(fast, [1.0, 2.0, 3.0], executed="float32", multiply_adds=100),
        Timing(Case(precision="bf16"), note="no bf16"),
    ]
    rows = Bench({}, {"torch float32": 40.0, "openvino float32": 100.0, "torch bf16": 400.0}, timings, 3).rows()
    assert rows[1]["times_published"] == 2.0
    assert rows[1]["per_second"] == 4.0  # a batch of 8 in 2 seconds
    assert rows[1]["ceiling_share"] == 0.5
    assert rows[2]["per_second"] is None
    assert json.loads(json.dumps(rows))[2]["milliseconds"] is None  # NaN would be no JSON
    assert rows[2]["ceiling_share"] is None


def test_a_share_is_of_the_ceiling_in_the_same_precision() -> None:
    ceiling = {"torch float32": 50.0, "openvino bf16": 200.0}
    timing = Timing(Case(precision="bf16"), [1.0], executed="bf16", multiply_adds=100)
    assert Bench({}, ceiling, [timing], 1).share(timing) == 0.5
    timing.executed = "int8"
    assert Bench({}, ceiling, [timing], 1).share(timing) is None


def test_what_did_not_run_has_no_figures() -> None:
    timing = Timing(Case())
    assert isnan(timing.median)
    assert isnan(timing.images_per_second)
    timing.seconds = [2.0, 1.0, 9.0]
    assert (timing.median, timing.images_per_second) == (2.0, 4.0)
    assert Timing(Case(task="map"), [2.0]).images_per_second == 0.5, "a map is of one image"


def test_each_is_compared_with_the_published_network_of_its_own_table() -> None:
    plain, small, smaller = (
        Timing(Case(how="published", batch=batch, size=size), [1.0]) for batch, size in ((8, 224), (1, 224), (8, 64))
    )
    resnet = Timing(Case("resnet50", "published"), [1.0])
    result = Bench({}, {}, [small, smaller, plain, resnet], 1)
    assert result.baseline(Timing(Case(runtime="openvino", precision="int8"))) is plain
    assert result.baseline(Timing(Case(batch=1))) is small
    assert result.baseline(Timing(Case("resnet50", precision="bf16"))) is resnet
    assert result.baseline(resnet) is None, "it is not a BagNet made faster"
    assert result.baseline(plain) is plain
    assert result.baseline(Timing(Case(task="map"))) is None
