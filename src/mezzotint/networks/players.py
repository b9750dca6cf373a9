"""What a PPGN run trains: a generator from codes, its discriminator, and a prior of codes.

    images = G(h)      D(images)      R(h + noise)

The encoder that makes the codes is frozen and not part of this.
"""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Float
from pydantic import Field, InstanceOf, PositiveInt, model_validator
from torch import Tensor, nn
from torch.func import functional_call

from mezzotint.config import Config, part
from mezzotint.networks.autoencoding import CodeAutoencoderConfig
from mezzotint.networks.discriminator import StridedDiscriminatorConfig
from mezzotint.networks.upconvolution import CodeGeneratorConfig

_KNOWN = {
    "generator": ("code", "channels", "size"),
    "discriminator": ("channels", "size"),
    "autoencoder": ("code",),
}


class PlayersConfig(Config):
    """Shapes of the three.

    Attributes:
        channels: channels of an image.
        size: rows and columns of an image.
        num_classes: classes of the data, of which these networks know nothing.
        code: numbers in a code; a recipe takes them from its encoder.
        generator: from codes to images.
        discriminator: from images to a logit of being real.
        autoencoder: a prior of codes (PPGN-h), or null; the generator and the encoder are one too.
    """

    channels: int = Field(ge=1)
    size: tuple[PositiveInt, PositiveInt]
    num_classes: int = Field(default=0, ge=0)
    code: int = Field(default=0, ge=0)
    generator: Annotated[InstanceOf[CodeGeneratorConfig], part("network")]
    discriminator: Annotated[InstanceOf[StridedDiscriminatorConfig], part("network")]
    autoencoder: Annotated[InstanceOf[CodeAutoencoderConfig], part("network")] | None = None

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, given: Any) -> Any:
        """Lay what the whole knows under its parts."""
        if not isinstance(given, Mapping):
            return given
        whole = dict(given)
        for name, keys in _KNOWN.items():
            inner = whole.get(name)
            inner = {"kind": inner} if isinstance(inner, str) else inner
            if isinstance(inner, Mapping):
                known = {key: whole[key] for key in keys if key in whole}
                whole[name] = {**known, **inner}
        return whole

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name, keys in _KNOWN.items():
            inner = getattr(self, name)
            for key in keys if inner is not None else ():
                if getattr(inner, key) != getattr(self, key):
                    raise ValueError(
                        f"{name}.{key} is {getattr(inner, key)}, expected {getattr(self, key)}; "
                        "leave it out"
                    )
        return self

    def coded(self, code: int) -> Self:
        """Return the same shapes for codes of another length."""
        update = {"code": code}
        inner: dict[str, Config] = {"generator": self.generator.model_copy(update=update)}
        if self.autoencoder is not None:
            inner["autoencoder"] = self.autoencoder.model_copy(update=update)
        return self.model_copy(update=update | inner)

    def build(self) -> "Players":
        """Make the networks, freshly initialised."""
        return Players(self)


class Played(NamedTuple):
    """What the players make of a batch.

    Attributes:
        images: G(h).
        real: D of real images, for D's own loss.
        fake: D of the images as they stand, for D's own loss.
        judged: D of the images, with D held fixed: for G's loss.
        codes: R of noisy codes, or None.
    """

    images: Float[Tensor, "b c h w"]
    real: Float[Tensor, "b"]
    fake: Float[Tensor, "b"]
    judged: Float[Tensor, "b"]
    codes: Float[Tensor, "b n"] | None


class Players(nn.Module):
    """The three networks, and the range of the codes that they have been shown.

    Args:
        config: their shapes.
    """

    lowest: Tensor
    highest: Tensor

    def __init__(self, config: PlayersConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = config.generator.build()
        self.discriminator = config.discriminator.build()
        prior = config.autoencoder
        self.autoencoder: nn.Module | None = None if prior is None else prior.build()
        self.register_buffer("lowest", torch.zeros(config.code))
        self.register_buffer("highest", torch.zeros(config.code))

    def parties(self) -> list[list[nn.Parameter]]:
        """Return what each player learns by, whose gradients are clipped apart."""
        whole = (self.generator, self.discriminator, self.autoencoder)
        return [[p for p in m.parameters() if p.requires_grad] for m in whole if m is not None]

    @torch.no_grad()
    def see(self, codes: Float[Tensor, "b n"]) -> None:
        """Widen the range of the codes by these."""
        self.lowest.copy_(torch.minimum(self.lowest, codes.amin(0)))
        self.highest.copy_(torch.maximum(self.highest, codes.amax(0)))

    def forward(
        self,
        codes: Float[Tensor, "b n"],
        images: Float[Tensor, "b c h w"],
        noisy: Float[Tensor, "b n"],
    ) -> Played:
        """Let all of them play; one backward pass then serves all, for none reaches another.

        Args:
            codes: what images are made of.
            images: real ones.
            noisy: codes with noise, for the autoencoder.
        """
        self.see(codes.detach())
        made = self.generator(codes)
        fixed = {name: each.detach() for name, each in self.discriminator.named_parameters()}
        return Played(
            images=made,
            real=self.discriminator(images),
            fake=self.discriminator(made.detach()),
            judged=functional_call(self.discriminator, fixed, (made,)),
            codes=None if self.autoencoder is None else self.autoencoder(noisy),
        )


__all__ = ["Played", "Players", "PlayersConfig"]
