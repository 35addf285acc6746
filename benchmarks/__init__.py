"""Comparisons of speed and memory, side by side in one run; see README.md."""
