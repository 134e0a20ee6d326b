"""Metrics of a classifier: what they are called, which direction is better, and how they are computed."""
