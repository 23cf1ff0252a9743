"""The operations of the product: plain async functions, one noun a file. The only layer that opens transactions."""
