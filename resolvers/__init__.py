"""What the product does: plain async functions, one noun a file. Alone opens transactions."""
