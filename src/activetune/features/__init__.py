"""Pool x backbone -> embeddings, and products of many features with few."""
