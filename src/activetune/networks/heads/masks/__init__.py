"""Heads that give a number per class and place of a map: the class of every pixel."""
