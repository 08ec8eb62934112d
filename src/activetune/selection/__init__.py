"""Embeddings x budget -> selection."""
