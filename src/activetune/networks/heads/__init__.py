"""Heads: what turns features into answers; one module a head."""
