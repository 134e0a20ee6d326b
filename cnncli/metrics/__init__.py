"""Metrics of a classifier: names, direction of improvement, and computation."""
