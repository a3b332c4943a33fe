"""Rivals for one job: permutations of hidden units that line one network up with another."""
