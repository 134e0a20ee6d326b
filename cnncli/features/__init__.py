"""The feature cache: features at the cut, computed once, stored, read back."""
