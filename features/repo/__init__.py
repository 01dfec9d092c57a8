"""What Feast reads: one settings file, one file of definitions, and the online store that the settings name."""
