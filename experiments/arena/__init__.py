"""Policies against each other in worlds whose truth is known: what each would have earned, month by month, on the same customers."""
