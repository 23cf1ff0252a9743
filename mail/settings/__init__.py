"""Proposes mail settings for an address. Only a check proves them."""
