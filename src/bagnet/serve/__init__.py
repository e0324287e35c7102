"""The service: an HTTP interface to `explain`, for programs and for the viewer page."""

from .app import application
from .limits import Limits
from .server import serve

__all__ = ["Limits", "application", "serve"]
