"""Maps of region embeddings in two dimensions."""
