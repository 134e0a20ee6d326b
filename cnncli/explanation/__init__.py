"""What networks compute, worked out on small examples."""
