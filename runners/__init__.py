"""What runs by itself, beside the APIs: each runner can be started and stopped. Knows no request."""
