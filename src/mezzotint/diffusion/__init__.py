"""The algebra of denoisers: paths, predictions, guidance, grids, samplers."""
