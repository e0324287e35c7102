"""The HTTP application: a model behind `POST /v1/explain` and `/v1/classify`, and the viewer page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from ..certificates.certificate import Certificate
from ..certificates.certify import certify
from ..data.names import AmbiguousClass, UnknownClass
from ..engine.classifier import Classifier, model_name
from ..evidence import Evidence
from .access import BUSY, Access, completed
from .answers import Classified, Explained, Health, Models, classified, explained, model_of
from .batches import Batches, Closed
from .limits import Limits
from .metrics import Metrics
from .requests import BODY, content_of, prepared

_GONE = 499  # nginx's code for a client that did not wait; nobody reads it

Count = Annotated[int, Query(ge=1, le=1000, description="How many of the best classes.")]
Targets = Annotated[
    list[str] | None,
    Query(alias="class", max_length=32, description="Whose maps: name, index or WordNet id; the best class where none."),
]
Everything = Annotated[bool, Query(alias="all", description="The maps of all classes too, as bytes.")]
Sticker = Annotated[
    str | None,
    Query(alias="patch", max_length=32, description="Certify the answer against one: 2%, 32photo, 24x60input."),
]
AsInput = Annotated[
    bool, Query(alias="prepared", description="The pixels are the network's input: nothing is resized or cropped.")
]


def application(
    model: Classifier,
    limits: Limits | None = None,
    *,
    token: str = "",
    page: Path | None = None,
    hosts: Sequence[str] = (),
) -> FastAPI:
    """A service that explains images.

    Args:
        model: with evidence, whatever runs it.
        limits: of what clients may ask for; the usual ones where None.
        token: that clients must show (`Authorization: Bearer ...`); none where "".
        page: a folder that is served at `/`.
        hosts: names by which the service may be asked for, so that pages of other sites cannot reach it under theirs; any where
            there are none.
    """
    service = _Service(model, limits or Limits(), token)
    app = FastAPI(title="bagnet", summary="Image classifiers that show exactly why.", lifespan=service.lifespan)
    asking: dict[str, Any] = {**service.access.route(400, 408, 413, 415, 422, 429), "openapi_extra": BODY}
    knowing = service.access.route()
    app.post("/v1/explain", summary="The evidence for an image's classes", **asking)(service.explain)
    app.post("/v1/classify", summary="An image's best classes", **asking)(service.classify)
    app.get("/v1/models", summary="What is served", **knowing)(service.models)
    app.get("/metrics", summary="Counts, for Prometheus", response_class=Response, **knowing)(service.metrics.answer)
    app.get("/healthz", summary="Whether the service runs")(service.health)
    for path in ("/v1/explain", "/v1/classify"):  # which the page's folder would say it has no file of
        app.get(path, include_in_schema=False)(_posted_only)
    return completed(app, service.metrics, page, hosts)


class _Service:
    """What the routes share.

    Args:
        model: with evidence.
        limits: of what clients may ask for.
        token: that clients must show; none where "".
    """

    def __init__(self, model: Classifier, limits: Limits, token: str) -> None:
        self._model, self._limits = model, limits
        self.metrics = Metrics()
        self.access = Access(token, limits.waiting, self.metrics)
        self._batches = Batches(model, limits.batch_size, self.metrics.batch)
        # Decoded photographs are large: few of them are to be held while they wait.
        self._decoded = asyncio.Semaphore(2 * limits.batch_size)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """At the end, what is inside is answered."""
        yield
        await run_in_threadpool(self._batches.close)

    async def classify(self, request: Request, count: Count = 5) -> Classified:
        """The best classes of an image file, with logits and probabilities."""
        evidence = await self._evidence(request)
        return classified(evidence, evidence.indices_among(self._model.classes), count)

    async def explain(
        self,
        request: Request,
        count: Count = 5,
        targets: Targets = None,
        everything: Everything = False,
        patch: Sticker = None,
        as_input: AsInput = False,
    ) -> Explained:
        """The logit of every window of an image file for the classes asked for; the mean of a map is the logit of its class."""
        wanted = [self._class(name) for name in targets or ()]
        evidence = await self._evidence(request, as_input)
        kept = evidence.indices_among(self._model.classes)
        if missing := [index for index in wanted if index not in kept]:
            raise HTTPException(400, f"the image is too large for a map of {self._model.classes[missing[0]]}: scale it down")
        shown = [kept.index(index) for index in wanted] or [evidence.top(1)[0].index]
        proof = await run_in_threadpool(self._certified, evidence, patch) if patch else None
        return explained(evidence, kept, count, shown, everything=everything, certificate=proof)

    async def models(self) -> Models:
        """The name of the model, its windows and its classes."""
        return Models(models=[model_of(self._model)])

    async def health(self) -> Health:
        """Always the same, while the service runs."""
        return Health(status=f"serving {model_name(self._model)}")

    def _certified(self, evidence: Evidence, patch: str) -> Certificate:
        try:
            return certify(self._model, evidence, patch)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None

    def _class(self, name: str) -> int:
        try:
            return self._model.classes.find(name)
        except (UnknownClass, AmbiguousClass) as error:
            raise HTTPException(400, str(error)) from None

    async def _evidence(self, request: Request, as_input: bool = False) -> Evidence:
        with self.access.admitted():
            content = await content_of(request, self._limits)
            try:
                async with asyncio.timeout(self._limits.seconds), self._decoded:
                    seen = await run_in_threadpool(prepared, self._model, content, self._limits, as_input)
                    return await _unless_gone(request, asyncio.wrap_future(self._batches.submit(seen)))
            except TimeoutError:
                raise HTTPException(429, f"not answered within {self._limits.seconds:g} seconds: too busy", BUSY) from None
            except Closed as error:
                raise HTTPException(429, str(error), BUSY) from None


def _posted_only() -> None:
    raise HTTPException(405, "POST an image file here", {"Allow": "POST"})


async def _unless_gone(request: Request, answer: asyncio.Future[Evidence]) -> Evidence:
    """The answer; cancelled when the client does not wait for it. HTTPException: it did not."""
    gone = asyncio.ensure_future(_disconnected(request))
    either: set[asyncio.Future[Any]] = {answer, gone}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise HTTPException(_GONE, "the client is gone")
        return answer.result()
    finally:
        gone.cancel()
        answer.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
