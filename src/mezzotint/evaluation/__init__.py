"""How good images are, measured under one protocol: images, features, moments, metrics, report."""
