"""Tools of the project itself; each file says what it is for and how it is called."""
