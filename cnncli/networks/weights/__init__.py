"""Finding, downloading, reading and matching weight files."""
