"""Discriminators: does a picture look like a real one? One logit a picture, or one a patch.

StyleGAN's (Karras et al., arXiv 1812.04948), as ViTok's first release has it, and PatchGAN's (Isola
et al., arXiv 1611.07004) for pictures and for clips.
"""

from collections import OrderedDict
from itertools import pairwise
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mezzotint.errors import ConfigError
from mezzotint.nn.initial import xavier

LEAK: Final = 0.2
WIDTHS: Final = {4: 512, 8: 512, 16: 512, 32: 512, 64: 256, 128: 128, 256: 64, 512: 32, 1024: 16}
"""Channels of a map by its side, in StyleGAN's discriminator."""
SIDES: Final = tuple(side for side in WIDTHS if side > 4)
"""Rows and columns of the pictures that it can be shown."""
_KERNELS: Final = {
    1: (1.0,),
    2: (1.0, 1.0),
    3: (1.0, 2.0, 1.0),
    4: (1.0, 3.0, 3.0, 1.0),
    5: (1.0, 4.0, 6.0, 4.0, 1.0),
    6: (1.0, 5.0, 10.0, 10.0, 5.0, 1.0),
    7: (1.0, 6.0, 15.0, 20.0, 15.0, 6.0, 1.0),
}


class BlurPool(nn.Module):
    """Halve a map behind a binomial blur, channel by channel (Zhang, arXiv 1904.11486).

    Args:
        size: side of the kernel, 1 to 7.
    """

    filter: Tensor

    def __init__(self, size: int = 4) -> None:
        super().__init__()
        row = torch.tensor(_KERNELS[size])
        kernel = row[:, None] * row
        self.register_buffer("filter", (kernel / kernel.sum())[None, None])
        self.padding = (size - 1) // 2

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        """Blur and halve."""
        channels = x.shape[1]
        kernel = self.filter.to(x.dtype).expand(channels, -1, -1, -1)
        return functional.conv2d(x, kernel, stride=2, padding=self.padding, groups=channels)


class StyleBlock(nn.Module):
    """(skip + main) / sqrt 2, with two convolutions around a blur in the main branch.

    Args:
        width: channels in.
        wider: channels out.
        leak: slope of the LeakyReLUs below 0.
    """

    def __init__(self, width: int, wider: int, *, leak: float = LEAK) -> None:
        super().__init__()
        self.leak = leak
        self.conv1 = nn.Conv2d(width, wider, 3, padding=1)
        self.conv2 = nn.Conv2d(wider, wider, 3, padding=1)
        self.skip = nn.Conv2d(width, wider, 1, bias=False)
        self.blur = BlurPool()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Halve the map."""
        main = self.blur(functional.leaky_relu(self.conv1(x), self.leak))
        main = functional.leaky_relu(self.conv2(main), self.leak)
        return (self.skip(self.blur(x)) + main) / 2**0.5


class StyleDiscriminator(nn.Module):
    """One logit a picture; 25.18 M parameters at 64 px.

    Args:
        size: rows and columns of a picture, one of SIDES.
        channels: of a picture.
        share: of the published channels that a map has.

    Raises:
        ConfigError: another size.
    """

    def __init__(self, size: int, channels: int = 3, share: float = 1.0) -> None:
        super().__init__()
        if size not in SIDES:
            raise ConfigError(
                f"pictures of {size} px cannot be shown to a StyleGAN discriminator, which halves "
                f"them down to 4; expected {', '.join(map(str, SIDES))}"
            )
        sides = [size >> k for k in range(size.bit_length()) if size >> k >= 4]
        widths = [max(1, round(WIDTHS[side] * share)) for side in sides]
        last = widths[-1]
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.blocks = nn.Sequential(*(StyleBlock(*pair) for pair in pairwise(widths)))
        self.last = nn.Conv2d(last, last, 3, padding=1)
        self.hidden = nn.Linear(last * sides[-1] ** 2, last)
        self.logit = nn.Linear(last, 1)
        xavier(m for m in self.modules() if isinstance(m, nn.Linear | nn.Conv2d))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1"]:
        """Return the logits.

        Args:
            x: pictures in [-1, 1].
        """
        x = self.blocks(functional.leaky_relu(self.first(x), LEAK))
        x = functional.leaky_relu(self.last(x), LEAK).flatten(1)
        return self.logit(functional.leaky_relu(self.hidden(x), LEAK))


class ActNorm(nn.Module):
    """scale (x + shift), which the first batch that is trained on sets to mean 0 and deviation 1.

    Args:
        width: channels.
    """

    initialized: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(1, width, 1, 1))
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.register_buffer("initialized", torch.tensor(0, dtype=torch.uint8))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Scale each channel."""
        if self.training and not self.initialized:
            with torch.no_grad():
                mean = x.mean((0, 2, 3), keepdim=True)
                self.loc.copy_(-mean)
                self.scale.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-6))
                self.initialized.fill_(1)
        return self.scale * (x + self.loc)


class PatchDiscriminator(nn.Sequential):
    """One logit a patch, by convolutions alone.

    Args:
        channels: of a picture.
        width: channels of the first map; it doubles up to eight times itself.
        layers: convolutions that halve the map.
        actnorm: in the place of batch norm, which makes the bias before it idle.
        clips: whether it reads clips, (B, C, T, H, W), with kernels of 3 instead of 4.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        width: int = 64,
        layers: int = 3,
        actnorm: bool = False,
        clips: bool = False,
    ) -> None:
        make: Any = nn.Conv3d if clips else nn.Conv2d
        batch = nn.BatchNorm3d if clips else nn.BatchNorm2d
        side = 3 if clips else 4
        widths = [width * min(2**k, 8) for k in range(layers + 1)]
        parts: list[nn.Module] = [make(channels, width, side, 2, 1), nn.LeakyReLU(LEAK)]
        for k, pair in enumerate(pairwise(widths), 1):
            stride = 2 if k < layers else 1
            # Time is halved twice and no more. That it is for other numbers of layers is our guess.
            strides = (stride if k < 2 else 1, stride, stride) if clips else (stride, stride)
            parts.append(make(*pair, side, strides, 1, bias=actnorm))
            parts += [ActNorm(pair[1]) if actnorm else batch(pair[1]), nn.LeakyReLU(LEAK)]
        parts.append(make(widths[-1], 1, side, 1, 1))
        super().__init__(OrderedDict((str(k), module) for k, module in enumerate(parts)))


def discriminator_loss(
    real: Float[Tensor, "b ..."], fake: Float[Tensor, "b ..."]
) -> Float[Tensor, ""]:
    """Return the hinge loss (mean relu(1 - real) + mean relu(1 + fake)) / 2."""
    return (functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()) / 2


def lecam(
    real: Float[Tensor, ""],
    fake: Float[Tensor, ""],
    past_real: Float[Tensor, ""],
    past_fake: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Return relu(real - past fake)^2 + relu(past real - fake)^2 (Tseng et al., arXiv 2104.03310).

    Args:
        real, fake: mean logits.
        past_real, past_fake: their running averages.
    """
    return (
        functional.relu(real - past_fake).square().mean()
        + functional.relu(past_real - fake).square().mean()
    )
