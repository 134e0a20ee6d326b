"""The tensors that cross the cut: computed once, stored, read back."""
