"""bagnet serve"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from .classifiers import network
from .options import BatchSize, Calibration, Model, Precision, Runtime, Trust
from .progress import progress_bar

_TOKEN = "BAGNET_TOKEN"


def serve(
    slide: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Show what `bagnet slide` wrote, over its image, instead of explaining photographs. Repeat it for several.",
            show_default=False,
        ),
    ] = None,
    openseadragon: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="For --slide: the npm package openseadragon, a folder or .tgz.",
            show_default="node_modules, or asked of npm",
        ),
    ] = None,
    model: Model = "",
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen at; 0.0.0.0 for all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="Port to listen at; 0 for any that is free.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"Holds the token that clients must show; or {_TOKEN} in the environment.", show_default=False
        ),
    ] = None,
    most_bytes: Annotated[int, typer.Option("--bytes", metavar="N", min=1, help="Of a request, at most.")] = 32 << 20,
    most_pixels: Annotated[int, typer.Option("--pixels", metavar="N", min=1, help="Of an image, at most.")] = 50_000_000,
    input_pixels: Annotated[
        int, typer.Option(metavar="N", min=1, help="Of what the network gets of an image, after the resize, at most.")
    ] = 10_000_000,
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0.1, help="For a client to send a request, and for a request to be answered.")
    ] = 30.0,
    waiting: Annotated[
        int, typer.Option(metavar="N", min=1, help="Requests inside, at most; one more is told to come back.")
    ] = 64,
    batch_size: BatchSize = 8,
    trust: Trust = None,
    runtime: Runtime = "torch",
    precision: Precision = "float32",
    calibration: Calibration = None,
) -> None:
    """Explain images over HTTP: POST /v1/explain and /v1/classify, described at /docs. Or show slides and their evidence.

    Example: `bagnet serve --runtime openvino --port 8000`

    Example: `bagnet serve --slide scan/`
    """
    check_service()
    from ..serve.limits import Limits
    from ..serve.server import is_loopback, serve_slides
    from ..serve.server import serve as serve_model
    from ..slides.view import open_view

    limits = Limits(most_bytes, most_pixels, input_pixels, seconds, waiting, batch_size)
    token = _token(token_file)
    if slide and model:
        raise ValueError("--slide shows what a model said before: leave out --model")
    if openseadragon is not None and not slide:
        raise ValueError("--openseadragon is for the viewer of slides: say --slide, or leave it out")
    with progress_bar() as progress:
        views = [open_view(folder, progress) for folder in slide or ()]
    ready = None if views else network(model, runtime, precision, calibration, prepared=True, trust=trust)
    if not token and not is_loopback(host):
        typer.echo(f"bagnet: {host}: whoever reaches this address may ask, as there is no token (--token-file)", err=True)
    if ready is None:
        serve_slides(views, host, port, limits=limits, token=token, openseadragon=openseadragon, ready=_say)
    else:
        serve_model(ready, host, port, limits=limits, token=token, ready=_say)


def check_service() -> None:
    """See that what the service needs is installed. ImportError: it is not; the message has the pip command."""
    from ..missing import needs

    for package in ("fastapi", "uvicorn", "multipart", "prometheus_client"):
        needs(package, "serve")


def _say(address: str) -> None:
    typer.echo(f"serving at {address}", err=True)


def _token(file: Path | None) -> str:
    if file is None:
        return os.environ.get(_TOKEN, "")
    token = file.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError(f"{file}: holds no token")
    return token
