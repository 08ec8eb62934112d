"""The whole loop, offline, on images that come with the package or with scikit-learn."""
