"""Language beside images: captions, their embeddings, and what these do to image embeddings (VeCAF)."""
