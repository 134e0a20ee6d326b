"""Random views of an image: operations, their composition, and the views of each epoch."""
