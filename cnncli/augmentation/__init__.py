"""Random views of an image."""
