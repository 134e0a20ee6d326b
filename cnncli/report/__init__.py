"""Curves and contact sheets."""
