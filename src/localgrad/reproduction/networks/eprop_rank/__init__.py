"""The rank of what e-prop learns."""
