"""`import bagnet.timm`, and timm knows our networks: `timm.create_model("bagnet33.orig_in1k", pretrained=True)`."""

from __future__ import annotations

from .neighbours.timm_models import ENTRIES

__all__ = list(ENTRIES)
