"""Embedding on a CUDA device: this package against sentence-transformers."""
