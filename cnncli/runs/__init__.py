"""The run directory: layout, lock, records, checkpoints, log, listing."""
