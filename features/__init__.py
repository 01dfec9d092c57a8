"""What is known about a customer or a product at a moment."""
