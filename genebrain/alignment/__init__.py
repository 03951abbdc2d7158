"""The middle: tensors in, towers, scores and losses out. Knows nothing of files, genomes or scanners."""
