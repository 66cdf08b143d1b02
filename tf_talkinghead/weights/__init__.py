"""Trained weights: the store that reads and writes them, and the shipped weights."""
