"""Heads that say a sentence of an image."""
