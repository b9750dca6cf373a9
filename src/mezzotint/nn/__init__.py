"""Bricks that at least two networks use; no paper's name inside."""
