"""The same work on several machines, with Ray."""
