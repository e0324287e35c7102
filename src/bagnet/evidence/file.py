"""Evidence as a file: one `.npz` with the maps, the image and a record of the rest; nothing in it is run when it is read."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict
from math import inf
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.names import ClassName, ClassNames
from ..files import replacing
from ..geometry import Axis, Geometry, Placement
from .evidence import Evidence

_FORMAT = 1


def write(evidence: Evidence, path: Path) -> None:
    """Write all of it.

    Raises:
        OSError: it cannot be written; an older file stays as it was.
    """
    picture = io.BytesIO()
    evidence.image.save(picture, "PNG")
    record = {
        "format": _FORMAT,
        "geometry": asdict(evidence.geometry),
        "placement": asdict(evidence.placement),
        "classes": [{"names": list(entry.names), "wnid": entry.wnid} for entry in evidence.classes],
        "model": evidence.model,
        "source": evidence.source,
        "multilabel": evidence.multilabel,
        "left_out": None if evidence.left_out == -inf else evidence.left_out,
        "temperature": evidence.temperature,
    }
    arrays = {
        "values": evidence.values,
        "logits": evidence.logits,
        "image": np.frombuffer(picture.getvalue(), np.uint8),
        "record": np.frombuffer(json.dumps(record).encode(), np.uint8),
    }
    with replacing(path) as part, part.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read(path: Path) -> Evidence:
    """Read what `write` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no evidence, or a broken one.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            record = json.loads(arrays["record"].tobytes())
            placement = record["placement"]
            axes = (Axis(**placement["horizontal"]), Axis(**placement["vertical"]))
            return Evidence(
                values=arrays["values"],
                logits=arrays["logits"],
                geometry=Geometry(**record["geometry"]),
                placement=Placement(*axes, placement["orientation"]),
                classes=ClassNames(ClassName(tuple(c["names"]), c["wnid"]) for c in record["classes"]),
                image=Image.open(io.BytesIO(arrays["image"].tobytes()), formats=["PNG"]).convert("RGB"),
                model=record["model"],
                source=record["source"],
                multilabel=record.get("multilabel", False),
                left_out=-inf if record.get("left_out") is None else record["left_out"],
                temperature=record.get("temperature", 1.0),
            )
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: there is no such file") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a file of evidence, or a broken one ({type(error).__name__})") from None
