"""Who may ask a service, and how many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hmac import compare_digest
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from .answers import Refusal
from .metrics import Metrics

BUSY = {"Retry-After": "1"}
_NO_TOKEN = 401
_WHY: dict[int, str] = {
    400: "The image, the form or a class's name is no good.",
    _NO_TOKEN: "The token is missing or wrong.",
    404: "There is no such thing.",
    408: "The request did not arrive in time.",
    413: "Too many bytes or pixels.",
    415: "Neither an image file nor a form.",
    422: "A parameter is out of range, or the form has no image.",
    429: "Too many requests: come back after `Retry-After` seconds.",
}
_bearer = HTTPBearer(auto_error=False)


class Access:
    """What all routes of a service share.

    Args:
        token: that clients must show; none where "".
        waiting: requests that are worked on or wait, at most.
        metrics: told how many are inside.
    """

    def __init__(self, token: str, waiting: int, metrics: Metrics) -> None:
        self._token, self._waiting, self._metrics = token.encode(), waiting, metrics
        self._inside = 0

    def route(self, *refusals: int) -> dict[str, Any]:
        """What a route needs to know: that it asks for the token, where there is one, and why it may refuse."""
        described = {
            code: {"description": _WHY[code], **({} if code == 422 else {"model": Refusal})}
            for code in sorted({*refusals, *([_NO_TOKEN] if self._token else [])})
        }
        return {"dependencies": [Depends(self.allowed)] if self._token else [], "responses": described}

    def allowed(self, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> None:
        """See that a client has shown the token. HTTPException: it has not."""
        shown = given.credentials.encode() if given else b""
        if not compare_digest(shown, self._token):
            raise HTTPException(_NO_TOKEN, "show the token: Authorization: Bearer ...", {"WWW-Authenticate": "Bearer"})

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Inside, a request is one of a limited number. HTTPException: there are too many."""
        if self._inside >= self._waiting:
            raise HTTPException(429, f"{self._inside} requests are waiting: come back later", BUSY)
        self._inside += 1
        self._metrics.inside.set(self._inside)
        try:
            yield
        finally:
            self._inside -= 1
            self._metrics.inside.set(self._inside)


def completed(app: FastAPI, metrics: Metrics, page: Path | None, hosts: Sequence[str]) -> FastAPI:
    """An application with all its routes, with what is around them.

    Args:
        app: with its routes.
        metrics: that count its requests.
        page: a folder that is served at `/`.
        hosts: names by which it may be asked for; any where there are none.
    """
    if page is not None:
        app.mount("/", StaticFiles(directory=page, html=True))
    if hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    app.add_middleware(metrics.counting)
    return app
