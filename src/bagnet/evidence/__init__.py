"""Why the network decided: evidence, how to get it from an image, and its pictures."""

from .evidence import Evidence, Prediction, Window
from .explain import explain

__all__ = ["Evidence", "Prediction", "Window", "explain"]
