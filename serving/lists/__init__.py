"""Lists under a budget, and what campaigns were worth: from who may be asked what, to a list with its control group, to its report."""
