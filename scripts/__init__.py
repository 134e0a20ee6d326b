"""Development tools. The docstring of each says what it is for and how to call it."""
