"""Which model is really better."""
