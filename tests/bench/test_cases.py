"""The tables hold what can be compared, and what cannot be timed is said at once."""

from __future__ import annotations

import pytest

from bagnet.bench.cases import WHOLE, Case, map_cases, standard_cases
from bagnet.engine.runtimes import RUNTIMES
from bagnet.zoo.names import DEFAULT


def test_the_tables_hold_every_runtime_and_the_comparisons() -> None:
    cases = standard_cases(batches=[8])
    assert Case(how="published") in cases
    assert Case("resnet50", "published") in cases
    assert {case.runtime for case in cases} == set(RUNTIMES)
    assert {case.precision for case in cases} == {"float32", "mixed", "bf16", "int8"}
    assert map_cases()[0].how == "published"


def test_the_columns_for_a_gpu() -> None:
    cases = standard_cases(batches=[8], device="cuda")
    assert {case.device for case in cases} == {"cuda"}
    assert {case.precision for case in cases if case.network == "bagnet33"} == {"float32", "tf32", "mixed", "bf16"}
    assert {(case.how, case.precision) for case in cases if case.network == "resnet50"} == {
        ("published", "float32"),
        ("prepared", "tf32"),
        ("prepared", "bf16"),
    }
    assert {case.precision for case in map_cases(device="cuda")} == {"float32", "tf32", "mixed", "bf16"}


def test_one_table_for_each_number_of_images() -> None:
    cases = standard_cases("bagnet9", batches=[1, 8], size=64)
    assert [case.batch for case in cases] == [1] * (len(cases) // 2) + [8] * (len(cases) // 2)
    assert {case.size for case in cases} == {64}
    assert {case.network for case in cases} == {"bagnet9", "resnet50"}
    assert {(case.network, case.batch, case.task) for case in map_cases("bagnet9")} == {("bagnet9", 1, "map")}


def test_a_windowed_network_stands_beside_what_it_is_made_of() -> None:
    cases = standard_cases(DEFAULT, batches=[1])
    assert [case.network for case in cases if case.how == "published"] == [DEFAULT, "bagnet33", f"{DEFAULT}{WHOLE}", "resnet50"]
    assert {case.precision for case in cases if case.network == DEFAULT} == {"float32", "bf16", "int8"}
    assert not map_cases(DEFAULT)


@pytest.mark.parametrize(
    ("case", "title"),
    [
        (Case("bagnet9", "published"), "bagnet9 as published float32"),
        (Case(f"{DEFAULT}{WHOLE}", "published"), "windowed128s64 whole as published float32"),
        (Case(runtime="openvino", precision="int8"), "bagnet33 openvino int8"),
        (Case("resnet50", precision="bf16", device="cuda"), "resnet50 torch compiled bf16"),
    ],
)
def test_titles(case: Case, title: str) -> None:
    assert case.title == title


@pytest.mark.parametrize(("network", "size", "reason"), [("resnet18", 224, "there are bagnet9"), ("bagnet17", 16, "17 x 17")])
def test_what_cannot_be_timed_is_said_at_once(network: str, size: int, reason: str) -> None:
    for table in (standard_cases, map_cases):
        with pytest.raises(ValueError, match=reason):
            table(network, size=size)  # type: ignore[operator]
