"""Models and metrics of the companion to two papers on neural parameter symmetries."""

__version__ = "0.1.0"
