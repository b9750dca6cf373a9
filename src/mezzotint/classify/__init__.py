"""The generator as a classifier: Li et al., arXiv 2303.16203, over any denoiser."""

from mezzotint.classify.estimator import DiffusionClassifier as DiffusionClassifier

__all__ = ["DiffusionClassifier"]
