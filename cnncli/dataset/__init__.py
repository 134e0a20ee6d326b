"""A folder becomes a manifest."""
