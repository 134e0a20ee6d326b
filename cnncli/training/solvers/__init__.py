"""Exact solvers for linear heads on cached features."""
