"""GENERator: tokenizer, backbone, weights, pooled chunk vectors."""
