"""One answer each: how to learn, and what was learned."""
