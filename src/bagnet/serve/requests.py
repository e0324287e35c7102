"""The image in a request, within limits. Nothing that a client sends is taken for a path or for code."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import BytesIO
from math import prod
from typing import Any

from PIL import Image
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request

from ..data.decode import FORMATS, LARGEST, BadImage, decode_bytes
from ..data.dicom import is_dicom
from ..data.transforms import Preprocessing
from ..engine.classifier import Classifier
from ..evidence.explain import Seen, take
from .limits import Limits

FIELD = "image"  # of a form
_KINDS = ("image/jpeg", "image/png", "image/webp", "image/tiff", "image/gif", "image/bmp", "application/octet-stream")
_FILE = {"schema": {"type": "string", "format": "binary"}}
_FORM = {"schema": {"type": "object", "required": [FIELD], "properties": {FIELD: {"type": "string", "format": "binary"}}}}
BODY = {"requestBody": {"required": True, "content": {"multipart/form-data": _FORM, **dict.fromkeys(_KINDS, _FILE)}}}


async def content_of(request: Request, limits: Limits) -> bytes:
    """The bytes of the image file in a request: its body, or the file called `image` in a form.

    Raises:
        HTTPException: 400 for a damaged form, 408 for a client that is too slow, 413 for too many bytes, 415 for another kind
            of content, 422 for a form without an image.
    """
    too_large = HTTPException(413, f"a request has at most {limits.bytes:,} bytes: scale the image down", _CLOSE)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.bytes:
        raise too_large
    limited = Request(request.scope, _counted(request.receive, limits.bytes, too_large))
    try:
        async with asyncio.timeout(limits.seconds):
            return await _content(limited)
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {limits.seconds:g} seconds", _CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "the request broke off") from None


_CLOSE = {"Connection": "close"}  # what is left of the request is not read


async def _content(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _KINDS:
        return await request.body()
    if kind != "multipart/form-data":
        raise HTTPException(415, f"send an image file as {', '.join(_KINDS)}, or a form with a file called {FIELD!r}")
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            file = form.get(FIELD)
            if not isinstance(file, UploadFile):
                raise HTTPException(422, f"the form has no file called {FIELD!r}")
            return await file.read()
    except (MultiPartException, KeyError, UnicodeDecodeError) as error:
        raise HTTPException(400, f"the form cannot be read ({getattr(error, 'message', None) or error})") from None


def _counted(receive: Callable[[], Awaitable[Any]], most: int, too_large: HTTPException) -> Callable[[], Awaitable[Any]]:
    """`receive` until more bytes have come than are allowed, whatever the headers promised."""
    total = 0

    async def counting() -> Any:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > most:
            raise too_large
        return message

    return counting


def prepared(model: Classifier, content: bytes, limits: Limits, as_input: bool = False) -> Seen:
    """The image as the network gets it; as it is, but for normalisation, where it is the network's input already.

    Raises:
        HTTPException: 413 for too many pixels, 400 for what is no image or too small for the model.
    """
    try:
        if is_dicom(content):  # its header can be of any length, and what it says of the size is for its own decoders
            raise BadImage("image: DICOM is read from files, not by the service; send it as a PNG")
        transform = replace(model.transform, resize=None, crop=None) if as_input else model.transform
        _check_size(content, transform, limits)
        seen = take(model, decode_bytes(content, "image"), transform)
        model.check(seen.x[None])
    except ValueError as error:  # BadImage is one
        raise HTTPException(400, " ".join(str(error).split())) from None
    return seen


def _check_size(content: bytes, transform: Preprocessing, limits: Limits) -> None:
    """Refuse too many pixels before any is decoded. HTTPException: 413."""
    try:
        width, height = _size(content)
    except Image.DecompressionBombError:
        most = min(limits.pixels, LARGEST)
        raise HTTPException(413, f"an image has at most {most:,} pixels, this one many times as many: scale it down") from None
    if width * height > limits.pixels:
        raise HTTPException(413, f"an image has at most {limits.pixels:,} pixels, this one {width * height:,}: scale it down")
    if not width * height:
        return
    pixels = prod(transform.placement((width, height)).input_size)  # the same of an image on its side, upright
    if pixels > limits.input_pixels:
        raise HTTPException(
            413,
            f"the network would get {pixels:,} pixels of this image of {width} x {height}, at most {limits.input_pixels:,} are "
            f"taken: {'scale it down' if transform.resize is None else 'crop it to a squarer shape'}",
        )


def _size(content: bytes) -> tuple[int, int]:
    """As the file's header has it. Whatever is wrong with the file, `decode_bytes` says it better."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            return image.size
    except Image.DecompressionBombError:
        raise
    except Exception:
        return 0, 0
