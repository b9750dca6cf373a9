"""The convolutional KL autoencoder: images to a Gaussian a place, and back.

    z = mean + exp(log-variance / 2) * noise        [mean, log-variance] = encode(x)

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", arXiv 2112.10752;
MAR's KL-16 after arXiv 2406.11838.
"""

from typing import Any, ClassVar, Final

from jaxtyping import Float
from torch import Tensor

from mezzotint.noise import Noise
from mezzotint.tokenizers.autoencoder import Pass
from mezzotint.tokenizers.convolutional import Convolutional, ConvolutionalConfig

LOG_VARIANCES: Final = (-30.0, 20.0)  # what a log-variance is clamped to

# What latents are multiplied by before a generator sees them: one over their deviation on the
# release's own images. "f8": specifications of DiT and U-ViT; "f16": specification of MAR.
SCALES: Final[dict[str, float]] = {"f8": 0.18215, "f16": 0.2325}


class KLConfig(ConvolutionalConfig):
    """Shape of a KL autoencoder, whose encoder gives a mean and a log-variance for each channel."""

    MAPS = 2

    # "f8" is from memory, but for scale, stride and channels; the specification of MAR gives "f16".
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "f8": {"latent_channels": 4, "width": 128, "multipliers": (1, 2, 4, 4)},
        "f16": {
            "latent_channels": 16,
            "width": 128,
            "multipliers": (1, 1, 2, 2, 4),
            "attention": (16,),
        },
    }

    def build(self) -> "KL":
        """Make the network, freshly initialised."""
        return KL(self)


class KL(Convolutional):
    """The autoencoder.

    Args:
        config: its shape.
    """

    FRONT = ("encoder.", "quant.")

    config: KLConfig

    def encode(self, x: Float[Tensor, "b c H W"]) -> Float[Tensor, "b m h w"]:
        """Return the moments: means, then log-variances, as the network gives them."""
        return self.quant(self.encoder(x))

    def draw(self, codes: Float[Tensor, "b m h w"], noise: Noise) -> Float[Tensor, "b z h w"]:
        """Draw from the Gaussians that moments describe.

        Args:
            codes: means, then log-variances.
            noise: gives a standard normal number a value.
        """
        mean, log_variance = moments(codes)
        return mean + (0.5 * log_variance).exp() * noise(mean)

    def decode(self, z: Float[Tensor, "b z h w"]) -> Float[Tensor, "b c H W"]:
        """Return images, about in [-1, 1]."""
        return self.decoder(self.post_quant(z))

    def reconstruct(self, x: Float[Tensor, "b c H W"], noise: Noise) -> Pass:
        """Return images from drawn latents, and the mean divergence of a value of a latent."""
        codes = self.encode(x)
        return Pass(self.decode(self.draw(codes, noise)), mean_divergence(codes))


def moments(
    codes: Float[Tensor, "b m h w"],
) -> tuple[Float[Tensor, "b z h w"], Float[Tensor, "b z h w"]]:
    """Split codes into means and log-variances, these clamped to [-30, 20]."""
    mean, log_variance = codes.chunk(2, dim=1)
    return mean, log_variance.clamp(*LOG_VARIANCES)


def divergence(codes: Float[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Return KL(N(mean, variance) || N(0, 1)) = sum (mean^2 + variance - 1 - log variance) / 2.

    Args:
        codes: means, then log-variances.

    Returns:
        Nats an image.
    """
    mean, log_variance = moments(codes)
    each = mean.square() + log_variance.exp() - 1 - log_variance
    return 0.5 * each.flatten(1).sum(1)


def mean_divergence(codes: Float[Tensor, "b m h w"]) -> Float[Tensor, "b"]:
    """Return the divergence over the number of values of a latent, in float32."""
    return divergence(codes.float()) / (codes[0].numel() // 2)


__all__ = ["KL", "LOG_VARIANCES", "SCALES", "KLConfig", "divergence", "mean_divergence", "moments"]
