"""From history to a judged model."""
