"""The generator as a classifier: arXiv 2303.16203, over any denoiser."""
