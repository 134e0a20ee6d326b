"""The run directory: files, lock, records, checkpoints, log, listing."""
