"""Models of how single customers buy, stop buying and spend: BG/NBD, Pareto/NBD, Gamma-Gamma, by maximum likelihood.

Pure functions of arrays, and two house models over them. Their P(alive) is no churn score: who bought once is "alive" with certainty under
BG/NBD. What is offered is the chance of no purchase in a horizon.
"""
