"""Published datasets: their downloads become labeled images. Each module reads one format."""
