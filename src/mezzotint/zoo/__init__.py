"""Models that ship with the package: weights, configs and cards."""
