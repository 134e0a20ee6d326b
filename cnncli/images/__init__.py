"""From a file to pixels: formats, limits, decoding, verification."""
