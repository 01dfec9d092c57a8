"""Speed of the service beside a tutorial-style one, in one run, on the same data."""
