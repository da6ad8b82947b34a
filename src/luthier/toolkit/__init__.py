"""What embeddings are for: each workflow a function of arrays and frames, without files, printing or a server."""
