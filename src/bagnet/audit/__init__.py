"""Failure analysis: what a BagNet's predictions hang on, and what its mistakes are made of."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .findings import Audit
from .run import audit

__all__ = ["Audit", "audit"]


class _Room(ModuleType):
    """The function and its room have one name: `bagnet.audit(...)` works whichever of them Python has put there."""

    def __call__(self, *args: Any, **options: Any) -> Audit:
        return audit(*args, **options)


sys.modules[__name__].__class__ = _Room
