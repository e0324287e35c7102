"""Outward only: what other people's tools ask of a model."""
