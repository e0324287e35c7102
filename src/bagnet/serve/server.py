"""Run the service."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import closing
from ipaddress import ip_address
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI

from ..data.decode import ImageLike
from ..engine.classifier import Classifier
from ..missing import needs
from ..slides.view import View
from .app import application
from .limits import Limits
from .slides import slides_application, write_slides_page
from .web import write_page

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]", "::1")
_log = logging.getLogger(__name__)


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(
    model: Classifier,
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    token: str = "",
    photographs: Sequence[ImageLike] = (),
    ready: Callable[[str], None] = _log.info,
) -> None:
    """Serve a model until SIGINT or SIGTERM; requests that are inside by then are answered.

    Args:
        model: with evidence, whatever runs it.
        host: address to listen at; where it is not this machine's own, whoever reaches it may ask, unless there is a token.
        port: to listen at; 0 for any that is free.
        limits: as for `application`.
        token: as for `application`.
        photographs: that the page offers before its samples.
        ready: told the address, once requests are taken; that of the first photograph, where there is one.

    Raises:
        OSError: the address cannot be listened at.
        ImportError: a package is missing; the message has the pip command.
    """
    limits = limits or Limits()

    def build(page: Path, hosts: Sequence[str]) -> tuple[FastAPI, str]:
        opened = write_page(page, model, "http", limits=limits, asks_token=bool(token), photographs=photographs)
        return application(model, limits, token=token, page=page, hosts=hosts), "".join(opened[:1])

    _run(build, host, port, limits, ready)


def serve_slides(
    views: Sequence[View],
    host: str = "127.0.0.1",
    port: int = 8000,
    *,
    limits: Limits | None = None,
    token: str = "",
    openseadragon: str | PathLike[str] | None = None,
    ready: Callable[[str], None] = _log.info,
) -> None:
    """Show slides until SIGINT or SIGTERM.

    Args:
        views: of the slides; closed at the end.
        host: as for `serve`.
        port: as for `serve`.
        limits: as for `slides_application`.
        token: as for `slides_application`.
        openseadragon: as for `write_slides_page`.
        ready: told the address, once requests are taken.

    Raises:
        OSError: the address cannot be listened at.
        ImportError: a package is missing, of Python or npm; the message has the command that brings it.
    """
    limits = limits or Limits()

    def build(page: Path, hosts: Sequence[str]) -> tuple[FastAPI, str]:
        write_slides_page(page, asks_token=bool(token), openseadragon=openseadragon)
        return slides_application(views, limits, token=token, page=page, hosts=hosts), ""

    _run(build, host, port, limits, ready)


def _run(
    build: Callable[[Path, Sequence[str]], tuple[FastAPI, str]],
    host: str,
    port: int,
    limits: Limits,
    ready: Callable[[str], None],
) -> None:
    """Run an application, which is built of a folder for its page and the names by which it may be asked for."""
    uvicorn = needs("uvicorn", "serve")
    with closing(_bound(host, port)) as listening, TemporaryDirectory() as scratch:
        app, opened = build(Path(scratch) / "page", _LOOPBACK if is_loopback(host) else ())
        longest = round(2 * limits.seconds)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=longest, lifespan="on")
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listening.getsockname()[1]}/{opened}")
        uvicorn.Server(config).run(sockets=[listening])


def _bound(host: str, port: int) -> socket.socket:
    """A socket to listen at, so that an address in use is an error of ours, and not a line of a log."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen()  # who asks before the application is ready waits for it
    except OSError as error:
        listening.close()
        raise OSError(f"{host}:{port} cannot be listened at ({error.strerror}): choose another --port or --host") from None
    return listening
