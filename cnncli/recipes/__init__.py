"""The steps of each command, one module per command."""
