"""Plug and play: chains in code space, what they walk on, and the runs that train it (PPGN)."""
