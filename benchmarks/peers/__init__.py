"""What the server is measured beside: servers of their own, which import nothing of the product."""
