"""Plain architectures; nothing about symmetry in them."""
