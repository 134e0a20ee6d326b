"""Console, progress and formatting."""
