"""Models of the task uplift: what a treatment changes, learned from who was treated, who was not, and what came of it."""
