"""Estimate how good a classifier is: cross-validation, learning curves."""
