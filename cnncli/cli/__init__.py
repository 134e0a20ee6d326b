"""The command line: one module per command, which parses, calls a recipe and prints."""
