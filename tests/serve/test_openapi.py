"""The description of the interface is true: what it allows is answered as it says, and nothing is answered by a server error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from bagnet.data.transforms import Preprocessing
from bagnet.model import BagNet

from ..slides.made import made_slide

schemathesis = pytest.importorskip("schemathesis")
pytest.importorskip("fastapi")
TestClient = pytest.importorskip("fastapi.testclient").TestClient


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "s3cret"])
def test_the_description_is_true(small: Callable[..., BagNet], token: str) -> None:
    from bagnet.serve.app import application
    from bagnet.serve.limits import Limits

    network = small(kernel3=(1, 1, 0, 0), classes=("ape", "bee", "cow", "dog", "elk"))
    assert network.card is not None
    network.card = replace(network.card, preprocessing=Preprocessing(24, None))
    seen = checked(application(network, Limits(seconds=10), token=token), token)
    assert seen == {"/v1/explain", "/v1/classify", "/v1/models", "/metrics", "/healthz"}


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", "s3cret"])
def test_the_description_of_slides_is_true(tmp_path: Path, token: str) -> None:
    from bagnet.serve.slides import slides_application
    from bagnet.slides.view import open_view

    seen = checked(slides_application([open_view(made_slide(tmp_path))], token=token), token)
    of_slide = ("image/{halvings}/{row}/{column}", "maps/{number}/{halvings}/{row}/{column}", "maps/{number}/strongest")
    tiles = {f"/v1/slides/{{slide}}/{what}" for what in (*of_slide, "windows/{row}/{column}")}
    assert seen == {"/v1/slides", "/metrics", "/healthz", *tiles}


def checked(app: Any, token: str) -> set[str]:
    """The routes of an application, of each of which many requests were answered as its description says."""
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    shown = {"Authorization": f"Bearer {token}"} if token else {}
    unsaid = [positive_data_acceptance]  # no schema can tell which bytes are an image, or how many tiles there are
    seen: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        seen.add(operation.path)

        @settings(
            max_examples=40, phases=[Phase.generate], derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy())
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(headers=shown, excluded_checks=unsaid)

        check()
    return seen
