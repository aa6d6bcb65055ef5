"""Engines of this package and of others on the same weights: speed, accuracy, memory, limits."""
