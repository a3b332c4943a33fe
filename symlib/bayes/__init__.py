"""Gaussian variational inference over the trainable entries of networks, and how calibrated predictions are."""
