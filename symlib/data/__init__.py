"""Data sets as tensors, verified by hash; nothing is downloaded unless asked for."""
