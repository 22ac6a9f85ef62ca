"""Search in one's own texts: passages with their sources, BM25, embeddings, re-ranking, answers with citations."""
