"""Servers found from an address. A proposal is not proof: a check is."""
