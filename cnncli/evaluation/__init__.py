"""Figures from scores: plain NumPy, no network."""
