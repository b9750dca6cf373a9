"""Vector-quantised autoencoders: an image to a map of indices into a codebook, and back.

    index = argmin_k |features - e_k|^2        x = decode(e_index)

`VQ` is LlamaGen's, with attention and a codebook on the unit sphere (Sun et al., "Autoregressive
Model Beats Diffusion", arXiv 2406.06525). MaskGIT's is in `maskgit_vq`. The idea: van den Oord et
al., "Neural Discrete Representation Learning", arXiv 1711.00937.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Autoencoder, AutoencoderConfig, Pass
from mezzotint.tokenizers.convolutional import Convolutional, ConvolutionalConfig

COMMITMENT: Final = 0.25
ENTROPY: Final = 0.1
TEMPERATURE: Final = 0.01
"""Weights of the penalty and of its softmax, of MaskGIT's tokenizer (maskgit.md, section 2.2)."""


@dataclass(frozen=True)
class Quantised:
    """What a codebook makes of a map of features.

    Attributes:
        features: what it was asked about; of unit length where its codes are.
        codes: the nearest codes, without gradient to the features.
        indices: which they are.
    """

    features: Float[Tensor, "b d h w"]
    codes: Float[Tensor, "b d h w"]
    indices: Int[Tensor, "b h w"]

    @property
    def through(self) -> Float[Tensor, "b d h w"]:
        """The codes, whose gradient goes to the features as if they were these."""
        return self.features + (self.codes - self.features).detach()

    def commitment(self) -> Float[Tensor, "b"]:
        """Return mean |features - sg(codes)|^2 of each image, which pulls features to codes."""
        return (self.features - self.codes.detach()).square().flatten(1).mean(1)

    def codebook(self) -> Float[Tensor, "b"]:
        """Return mean |sg(features) - codes|^2 of each image, which pulls codes to features."""
        return (self.features.detach() - self.codes).square().flatten(1).mean(1)


class Codebook(nn.Module):
    """A table of codes.

    Args:
        count: how many codes there are.
        width: channels of one.
        spherical: codes and features are brought to unit length before they are compared.
    """

    def __init__(self, count: int, width: int, *, spherical: bool) -> None:
        super().__init__()
        self.spherical = spherical
        self.weight = nn.Parameter(torch.empty(count, width).uniform_(-1 / count, 1 / count))

    @property
    def codes(self) -> Float[Tensor, "k d"]:
        """The codes as they are compared and decoded."""
        return functional.normalize(self.weight, dim=1) if self.spherical else self.weight

    def entropy(self, features: Float[Tensor, "b d h w"], temperature: float) -> Float[Tensor, ""]:
        """Return the mean entropy of soft choices of a code, minus the entropy of the mean choice.

        It is least where every choice is sure and all codes are chosen equally often.

        Args:
            features: of a batch.
            temperature: a choice is softmax(-distance / temperature).
        """
        logits = -self.distances(features).flatten(0, 2) / temperature
        logs = logits.log_softmax(-1)
        each = -(logs.exp() * logs).sum(-1).mean()
        mean = logs.exp().mean(0)
        return each + (mean * (mean + 1e-5).log()).sum()

    def distances(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b h w k"]:
        """Return squared distances, as |z|^2 + |e|^2 - 2 z e, of features from every code."""
        with torch.autocast(features.device.type, enabled=False):  # a near code is no nearest one
            z, codes = self._compared(features).movedim(1, -1), self.codes
            lengths = z.square().sum(-1, keepdim=True) + codes.square().sum(1)
            return lengths - 2 * (z @ codes.T)

    def nearest(self, features: Float[Tensor, "b d h w"]) -> Int[Tensor, "b h w"]:
        """Return the indices of the nearest codes; the first of equal ones."""
        return self.distances(features).argmin(-1)

    def lookup(self, indices: Int[Tensor, "b h w"]) -> Float[Tensor, "b d h w"]:
        """Return the codes of indices."""
        return functional.embedding(indices, self.codes).movedim(-1, 1)

    def forward(self, features: Float[Tensor, "b d h w"]) -> Quantised:
        """Return the nearest codes."""
        with torch.no_grad():
            indices = self.nearest(features)
        return Quantised(self._compared(features), self.lookup(indices), indices)

    def _compared(self, features: Float[Tensor, "b d h w"]) -> Float[Tensor, "b d h w"]:
        plain = features.float()
        return functional.normalize(plain, dim=1) if self.spherical else plain


class QuantisedConfig(AutoencoderConfig):
    """What the configs of all vector-quantised autoencoders say.

    Attributes:
        codes: how many there are in the codebook; `latent_channels` is the width of one.
    """

    codes: int = Field(ge=1)

    @property
    def vocabulary(self) -> int:
        """How many values a place of the latent may take."""
        return self.codes

    def latent(self, size: int) -> tuple[int, int, int]:
        """Return one channel, and rows and columns of the tokens of a square image.

        Raises:
            ConfigError: they do not come out whole.
        """
        rows = self.rows(size)
        return 1, rows, rows


class VectorQuantised(Autoencoder):
    """An autoencoder whose codes are indices; a subclass says what is before and behind them.

    Args:
        config: its shape.
    """

    FRONT = ("encoder.", "quant.", "codebook.")

    codebook: Codebook

    def features(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return what the codebook is asked about.

        Args:
            x: images in [-1, 1].
        """
        raise NotImplementedError

    def reconstruct(
        self,
        x: Float[Tensor, "b c H W"],
        noise: Noise,  # noqa: ARG002 (nothing is drawn)
    ) -> Pass:
        """Return images from the nearest codes, and the penalty of MaskGIT's published config.

            |sg(z) - e|^2 + 0.25 |z - sg(e)|^2 + 0.1 (entropy of a choice - of the mean choice)

        The last is of the whole batch, the same for each image.
        """
        features = self.features(x)
        made = self.codebook(features)
        spread = self.codebook.entropy(features, TEMPERATURE)
        penalty = made.codebook() + COMMITMENT * made.commitment() + ENTROPY * spread
        return Pass(self.restored(made.through), penalty)

    def restored(self, codes: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Return the images of codes, about in [-1, 1]."""
        raise NotImplementedError

    def encode(self, x: Float[Tensor, "b c H W"]) -> Int[Tensor, "b h w"]:
        """Return the indices of the nearest codes.

        Args:
            x: images in [-1, 1].
        """
        return self.codebook.nearest(self.features(x))

    def draw(
        self,
        codes: Int[Tensor, "b h w"],
        noise: Noise,  # noqa: ARG002 (nothing is drawn: an index is what it is)
    ) -> Int[Tensor, "b h w"]:
        """Return the indices."""
        return codes.long()

    def decode(self, z: Int[Tensor, "b h w"]) -> Float[Tensor, "b c H W"]:
        """Return images.

        Args:
            z: indices below the number of codes.
        """
        return self.restored(self.codebook.lookup(z))

    def forward(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b c H W"]:
        """Return images as they come back; the gradient goes through the codes as if not there."""
        return self.restored(self.codebook(self.features(x)).through)


def use(codes: Int[Tensor, "..."], count: int) -> dict[str, float]:
    """Return how many of `count` codes are used, and exp of the entropy of their use."""
    counts = torch.bincount(codes.flatten().long(), minlength=count).double()
    share = counts[counts > 0] / counts.sum()
    return {
        "used": int((counts > 0).sum()),
        "perplexity": float((-share * share.log()).sum().exp()),
    }


class VQConfig(ConvolutionalConfig, QuantisedConfig):
    """Shape of LlamaGen's vector-quantised autoencoder.

    Attributes:
        spherical: codes and features are brought to unit length.
    """

    # Codebook, width and stride: specification of MaskGIT; the levels are from memory.
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "llamagen-16": {
            "latent_channels": 8,
            "codes": 16_384,
            "width": 128,
            "multipliers": (1, 1, 2, 2, 4),
            "attention": (16,),
            "decoder_attention": (16,),
            "inner_channels": 256,
        },
    }

    spherical: bool = True

    def build(self) -> "VQ":
        """Make the network, freshly initialised."""
        return VQ(self)


class VQ(Convolutional, VectorQuantised):
    """LlamaGen's autoencoder.

    Args:
        config: its shape.
    """

    config: VQConfig

    def __init__(self, config: VQConfig) -> None:
        super().__init__(config)
        self.codebook = Codebook(config.codes, config.latent_channels, spherical=config.spherical)

    def features(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b d h w"]:
        """Return what the codebook is asked about."""
        return self.quant(self.encoder(x))

    def restored(self, codes: Float[Tensor, "b d h w"]) -> Float[Tensor, "b c H W"]:
        """Return the images of codes, about in [-1, 1]."""
        return self.decoder(self.post_quant(codes))


__all__ = ["VQ", "Codebook", "Quantised", "QuantisedConfig", "VQConfig", "VectorQuantised", "use"]
