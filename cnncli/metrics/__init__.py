"""Metrics from class scores."""
