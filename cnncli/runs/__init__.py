"""The run folder: what is in it, how it appears, how it is found again."""
