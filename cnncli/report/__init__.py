"""Images and tables of a run."""
