"""Backbones, one file each: (x, network time, class) -> prediction."""
