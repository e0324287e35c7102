"""The HTTP application: a model behind `POST /v1/explain` and `/v1/classify`, and the viewer page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from ..certificates.certificate import Certificate
from ..certificates.certify import certify
from ..data.names import AmbiguousClass, UnknownClass
from ..engine.classifier import Classifier, model_name
from ..evidence import Evidence
from .answers import Classified, Explained, Health, Models, Refusal, classified, explained, model_of
from .batches import Batches, Closed
from .limits import Limits
from .metrics import Metrics
from .requests import BODY, content_of, prepared

_WHY: dict[int, str] = {
    400: "The image, the form or a class's name is no good.",
    401: "The token is missing or wrong.",
    408: "The request did not arrive in time.",
    413: "Too many bytes or pixels.",
    415: "Neither an image file nor a form.",
    422: "A parameter is out of range, or the form has no image.",
    429: "Too many requests: come back after `Retry-After` seconds.",
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    code: {"description": why, **({} if code == 422 else {"model": Refusal})} for code, why in _WHY.items()
}
_NO_TOKEN = 401
_BUSY = {"Retry-After": "1"}
_GONE = 499  # nginx's code for a client that did not wait; nobody reads it
_bearer = HTTPBearer(auto_error=False)

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
    allowed = [Depends(service.allowed)] if token else []
    refusals = {code: refusal for code, refusal in _REFUSALS.items() if token or code != _NO_TOKEN}
    asking: dict[str, Any] = {"dependencies": allowed, "responses": refusals, "openapi_extra": BODY}
    knowing: dict[str, Any] = {
        "dependencies": allowed,
        "responses": {code: refusals[code] for code in refusals if code == _NO_TOKEN},
    }
    app.post("/v1/explain", summary="The evidence for an image's classes", **asking)(service.explain)
    app.post("/v1/classify", summary="An image's best classes", **asking)(service.classify)
    app.get("/v1/models", summary="What is served", **knowing)(service.models)
    app.get("/metrics", summary="Counts, for Prometheus", response_class=Response, **knowing)(service.read_metrics)
    app.get("/healthz", summary="Whether the service runs")(service.health)
    for path in ("/v1/explain", "/v1/classify"):  # which the page's folder would say it has no file of
        app.get(path, include_in_schema=False)(_posted_only)
    if page is not None:
        app.mount("/", StaticFiles(directory=page, html=True))
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(service.metrics.counting)
    return app


class _Service:
    """What the routes share.

    Args:
        model: with evidence.
        limits: of what clients may ask for.
        token: that clients must show; none where "".
    """

    def __init__(self, model: Classifier, limits: Limits, token: str) -> None:
        self._model, self._limits, self._token = model, limits, token.encode()
        self.metrics = Metrics()
        self._batches = Batches(model, limits.batch_size, self.metrics.batch)
        self._inside = 0
        # Decoded photographs are large: few of them are to be held while they wait.
        self._decoded = asyncio.Semaphore(2 * limits.batch_size)

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        """At the end, what is inside is answered."""
        yield
        await run_in_threadpool(self._batches.close)

    def allowed(self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        """See that a client has shown the token. HTTPException: it has not."""
        shown = given.credentials.encode() if given else b""
        if not compare_digest(shown, self._token):
            raise HTTPException(_NO_TOKEN, "show the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

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

    async def read_metrics(self) -> Response:
        """Counters and histograms, as text."""
        content, kind = self.metrics.text()
        return Response(content, media_type=kind)

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
        with self._admitted():
            content = await content_of(request, self._limits)
            try:
                async with asyncio.timeout(self._limits.seconds), self._decoded:
                    seen = await run_in_threadpool(prepared, self._model, content, self._limits, as_input)
                    return await _unless_gone(request, asyncio.wrap_future(self._batches.submit(seen)))
            except TimeoutError:
                raise HTTPException(429, f"not answered within {self._limits.seconds:g} seconds: too busy", _BUSY) from None
            except Closed as error:
                raise HTTPException(429, str(error), _BUSY) from None

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Inside, a request is one of a limited number."""
        if self._inside >= self._limits.waiting:
            raise HTTPException(429, f"{self._inside} requests are waiting: come back later", _BUSY)
        self._inside += 1
        self.metrics.inside.set(self._inside)
        try:
            yield
        finally:
            self._inside -= 1
            self.metrics.inside.set(self._inside)


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
