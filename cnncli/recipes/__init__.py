"""One module per verb; each tells its whole story in calls."""
