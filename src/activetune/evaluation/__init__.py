"""Model x pool -> scores and predictions."""
