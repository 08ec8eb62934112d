"""Pools of images, their pixels, their labels, and splits of these."""
