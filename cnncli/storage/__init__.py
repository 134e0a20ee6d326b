"""Atomic writes, cache directory, checksums, locks, archives, untrusted files."""
