"""Run the service."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

from ..engine.classifier import Classifier
from ..missing import needs
from .app import application
from .limits import Limits

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
    page: Path | None = None,
    ready: Callable[[str], None] = _log.info,
) -> None:
    """Serve a model until SIGINT or SIGTERM; requests that are inside by then are answered.

    Args:
        model: with evidence, whatever runs it.
        host: address to listen at; where it is not this machine's own, whoever reaches it may ask, unless there is a token.
        port: to listen at; 0 for any that is free.
        limits: as for `application`.
        token: as for `application`.
        page: as for `application`.
        ready: told the address, once requests are taken.

    Raises:
        OSError: the address cannot be listened at.
        ImportError: a package is missing; the message has the pip command.
    """
    uvicorn = needs("uvicorn", "serve")
    limits = limits or Limits()
    app = application(model, limits, token=token, page=page, hosts=_LOOPBACK if is_loopback(host) else ())
    config = uvicorn.Config(
        app, host, port, log_level="warning", access_log=False, timeout_graceful_shutdown=round(2 * limits.seconds), lifespan="on"
    )
    listening = _bound(host, port)
    try:
        name = f"[{host}]" if ":" in host else host
        ready(f"http://{name}:{listening.getsockname()[1]}/")
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


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
