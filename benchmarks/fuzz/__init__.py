"""Inputs bent at random, and what is answered to them."""
