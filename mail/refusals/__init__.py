"""What the refusals of mail servers, of token endpoints and of the policy for hosts mean. Knows no connection."""
