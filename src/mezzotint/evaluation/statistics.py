"""A reference as ADM's evaluator reads it: pictures with the moments of their features, in .npz."""

from pathlib import Path

import numpy as np
import torch

from mezzotint.data.npz import write_npz
from mezzotint.data.write import npz_stream
from mezzotint.evaluation.evaluator import Evaluator
from mezzotint.evaluation.extract import BLOCK
from mezzotint.files import replacing


def write_reference(path: Path, evaluator: Evaluator) -> int:
    """Write an evaluator's reference with arr_0, arr_1, mu, sigma, mu_s and sigma_s.

    The last two are there for Inception alone. The extractor's digest stands beside them, so that
    no other space is ever compared with them.

    Args:
        path: the .npz file.
        evaluator: whose reference and extractor.

    Returns:
        How many pictures there are.

    Raises:
        DataError: the reference holds no picture.
        OutputError: the disk is full.
    """
    images, side = evaluator.reference.pictures, evaluator.real()
    arrays = {"extractor": np.array(evaluator.extractor.digest)}
    for space, ending in (("features", ""), ("spatial", "_s")):
        if space in side.known:
            arrays[f"mu{ending}"] = side.known[space].mean.numpy()
            arrays[f"sigma{ending}"] = side.known[space].covariance.numpy()
    with replacing(path) as whole:
        with npz_stream(whole, len(images), (images.size, images.size)) as write:
            for rows in torch.arange(len(images)).split(BLOCK):
                write(images.read(rows), images.labels[rows].tolist(), rows.tolist())
        write_npz(whole, arrays)
    return len(images)


__all__ = ["write_reference"]
