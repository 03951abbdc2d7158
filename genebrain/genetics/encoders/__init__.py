"""DNA encoders of any tokenizer behind one protocol, and how each reads the chunks of a store."""
