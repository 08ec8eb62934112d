"""Heads that give a number per class: of an image with one class, or with several."""
