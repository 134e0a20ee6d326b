"""Find, download, read and match weights files."""
