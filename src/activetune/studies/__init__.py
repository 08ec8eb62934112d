"""Whole experiments: the simulation of learning curves, and the demo."""
