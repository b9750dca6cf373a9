"""Inception of 2015-12-05, the network behind every published FID, sFID and Inception Score.

    x = (TF1 bilinear of the image to 299 x 299, without half-pixel offset - 128) / 128
    features = pool3 (2048); logits = pool3 @ W (1008); spatial = mixed_6/conv, 7 channels (2023)

The network is torch-fidelity's; its weights are TensorFlow's, converted.
"""

from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor, hub

from mezzotint.errors import CheckpointError, MissingExtraError
from mezzotint.evaluation.blocks import Blockwise
from mezzotint.evaluation.features import Readout
from mezzotint.evaluation.weights import Published, Weights, digest_of, find_published

INCEPTION: Final = Published(
    "weights-inception-2015-12-05-6726825d.pth",
    "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0",
    "6726825d",
)
PREPROCESSING: Final = {"size": 299, "resize": "TF1 bilinear", "values": "(x - 128) / 128"}
SPATIAL_CHANNELS: Final = 7
"""ADM's evaluator takes as many as give about 2,000 values: 17 x 17 x 7 = 2,023."""


class Inception(Blockwise):
    """Features of ADM's evaluator, computed by torch-fidelity's network.

    `logits` are without the bias, as ADM's Inception Score takes them. `spatial` are channels 0 to
    6 of the TensorFlow node `mixed_6/conv`, flattened in the order height, width, channel, which
    is that of `mu_s` and `sigma_s` in ADM's reference files. That node is taken to be the 1x1
    branch of the block that PyTorch ports call Mixed_6d: torch-fidelity's converter of weights
    says so. Ports disagree (some take Mixed_6e), and we could not run TensorFlow: until a
    published sFID has been met, compare sFID only with numbers of this library.

    Args:
        weights: where torch-fidelity's file is (see `find_weights`); None looks where
            torch-fidelity itself keeps its downloads, and downloads nothing.
        unverified: take weights whose digest is another. Their distance is not called FID.
        device: where the network runs.
        block: how many images go through at once; moves the last bits of a result.

    Raises:
        CheckpointError: the weights are not there, or are not those of 2015-12-05.
        MissingExtraError: torch-fidelity is not installed.

    Source: Szegedy et al. 2015, arXiv:1512.00567; Heusel et al. 2017, arXiv:1706.08500 (FID);
    Nash et al. 2021, arXiv:2103.03841 (sFID); guided-diffusion, evaluations/evaluator.py.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        *,
        unverified: bool = False,
        device: str | torch.device = "cpu",
        block: int = 8,
    ) -> None:
        kept = Path(hub.get_dir(), "checkpoints", INCEPTION.file)
        found = find_published(INCEPTION, weights or kept, unverified=unverified)
        super().__init__(
            name="Inception",
            distance="FD-Inception(unverified)" if unverified else "FID",
            digest=digest_of(found.digest, PREPROCESSING),
            block=block,
            device=device,
        )
        self._network = _network(found).to(self.device)

    @property
    def spatial_distance(self) -> str:
        """Name of the distance in the spatial space: sFID, or sFD-Inception(unverified)."""
        return f"s{self.distance}"

    def _read(self, images: UInt8[Tensor, "b 3 h w"]) -> Readout:
        caught: list[Tensor] = []
        branch = self._network.Mixed_6d.branch1x1
        hook = branch.register_forward_hook(lambda _module, _inputs, out: caught.append(out))
        try:
            pool3, logits = self._network(images)
        finally:
            hook.remove()
        return Readout(pool3, logits, _spatial(caught[0]))


def _spatial(maps: Float32[Tensor, "b c 17 17"]) -> Float32[Tensor, "b s"]:
    return maps[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)


def _network(weights: Weights) -> Any:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise MissingExtraError("torch-fidelity", "eval") from None
    # torch-fidelity would unpickle the file without care: it is read safely first, and handed over
    # as a pickle of our own
    safe = BytesIO()
    torch.save(weights.tensors(), safe)
    safe.seek(0)
    try:
        return FeatureExtractorInceptionV3(
            "inception", ["2048", "logits_unbiased"], feature_extractor_weights_path=safe
        )
    except RuntimeError:
        raise CheckpointError(
            f"{weights.path}: these tensors are not of Inception 2015-12-05; expected the file "
            f"{INCEPTION.file} from {INCEPTION.address}"
        ) from None


__all__ = ["INCEPTION", "Inception"]
