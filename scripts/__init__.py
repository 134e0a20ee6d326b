"""Development tools. Each module's docstring says what it does and how to call it."""
