"""A file becomes pixels."""
