"""One question each: rows, outcome, success."""
