"""From a customer to a decision."""
