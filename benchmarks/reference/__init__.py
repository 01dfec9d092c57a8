"""The reference's rows built anew from their descriptions, so that ours can be put beside them customer by customer.

The reference publishes figures, evaluators and a line on each recipe, and no predictions; a paired difference needs both sides'. Nothing here
is part of the product, and features are computed apart from the product's own. What is shared with it is said where it is used.
"""
