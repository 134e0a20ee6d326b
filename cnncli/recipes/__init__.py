"""One module per command, which tells its story in calls."""
