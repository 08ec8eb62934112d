"""Heads that give the objects of an image: their boxes, classes and scores."""
