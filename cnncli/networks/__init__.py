"""Backbone, head, classifier and cut; architectures and weights."""
