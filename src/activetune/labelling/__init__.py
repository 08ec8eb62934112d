"""The local page on which a person labels selected images."""
