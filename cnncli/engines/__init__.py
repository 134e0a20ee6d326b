"""What runs a frozen trunk."""
