"""Random views of an image: operations, pipeline, views."""
