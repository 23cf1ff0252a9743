"""What the server is measured beside: servers of their own, each in one file. They import nothing of the product."""
