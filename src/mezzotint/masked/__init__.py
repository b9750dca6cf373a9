"""Masked generation: plans, orders, heads, and the loop that reveals tokens group by group."""
