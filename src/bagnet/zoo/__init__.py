"""Weights: find, fetch, verify, read, convert and build."""
