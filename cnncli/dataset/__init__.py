"""From a folder of images to a manifest: scan, labels, splits, duplicates, checks."""
