"""What is wrong with a pool before anything is trained on it: one pass over the images, one file per check."""
