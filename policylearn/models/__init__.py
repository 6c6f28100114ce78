"""Models of transformers behind one call, whatever their kind; loading them, and whether they go with a tokenizer."""
