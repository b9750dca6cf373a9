"""Generators that reveal tokens: a token network, a head, and how a canvas is filled.

    plan = reveal(length, steps) regrouped by reuse and after        tokens = MaskedGenerator(...)

They draw, save and are asked as all generators are; what differs is what a sampling recipe says.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple, Self

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from pydantic import InstanceOf, model_validator
from torch import Tensor, nn

from mezzotint import checkpoint, config
from mezzotint.card import cost
from mezzotint.config import Config, part
from mezzotint.errors import ConfigError
from mezzotint.generator import Generator
from mezzotint.masked.curves import Flat
from mezzotint.masked.generate import Canvas, MaskedGenerator
from mezzotint.masked.heads import HeadPart
from mezzotint.noise import SeededNoise, one_each
from mezzotint.token_sampling import MaskedSampling
from mezzotint.tokenizers.base import TokenizerConfig


class MaskedConfig(Config):
    """A token network, and what its features mean.

    Attributes:
        network: the backbone.
        head: from features to tokens.
    """

    network: Annotated[Any, part("network")]
    head: Annotated[HeadPart, part("head")]

    @model_validator(mode="after")
    def _over_tokens(self) -> Self:
        if not getattr(self.network, "over_tokens", False):
            raise ValueError("network: it knows no masked tokens; expected mar, maskgit, nat, …")
        return self

    @property
    def null(self) -> int | None:
        """The null class, or None where the network has none."""
        return getattr(self.network, "null", self.network.num_classes)

    def build(self) -> "TokenModel":
        """Make the model, with a fresh network."""
        return TokenModel(self.network.build(), self.head)

    def held(self, denoiser: Any) -> nn.Module:
        """Return the module whose tensors a file keeps."""
        return denoiser.network

    def open(
        self, tree: Mapping[str, Any], tensors: Mapping[str, Tensor], source: object
    ) -> "TokenGenerator":
        """Return the generator that a stored tree describes, filled with tensors."""
        stored = config.build(_Stored, {k: tree[k] for k in _Stored.model_fields if k in tree})
        checkpoint.check_classes(stored.classes, stored.model.network.num_classes)
        model = stored.model.build()
        checkpoint.load_strictly(model.network, tensors, source)
        return TokenGenerator(
            denoiser=model.eval().requires_grad_(requires_grad=False),
            tokenizer=stored.tokenizer.build(),
            classes=stored.classes,
            sampling=stored.sampling,
            null=model.null,
            tree=tree,
        )


class TokenModel(nn.Module):
    """A token network and its head, as a generator holds them.

    Args:
        network: the backbone.
        head: from features to tokens.
        autocast: dtype in which the network may compute, or None for that of its weights; the
            head computes in float32.
    """

    def __init__(
        self, network: Any, head: HeadPart, *, autocast: torch.dtype | None = None
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.autocast = autocast
        self.length: int = network.length
        self.mask: int | None = network.mask
        self.null: int | None = network.null
        self.num_classes: int = network.num_classes

    def _casting(self) -> torch.autocast:
        device = next(self.network.parameters()).device.type
        return torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None)

    def empty(self, batch: int) -> Shaped[Tensor, "b l ..."]:
        """Return a canvas of which nothing is known."""
        return self.network.empty(batch)

    def prefill(
        self, tokens: Shaped[Tensor, "b l ..."], masked: Bool[Tensor, "b l"], y: Int[Tensor, "b"]
    ) -> tuple[Float[Tensor, "b l f"], Any]:
        """Look at all tokens."""
        with self._casting():
            features, context = self.network.prefill(tokens, masked, y)
        return features, context

    def extend(
        self,
        tokens: Shaped[Tensor, "b l ..."],
        masked: Bool[Tensor, "b l"],
        where: Int[Tensor, "b n"],
        context: Any,
        y: Int[Tensor, "b"],
    ) -> Float[Tensor, "b n f"]:
        """Look again at some tokens."""
        with self._casting():
            return self.network.extend(tokens, masked, where, context, y)


class Frame(NamedTuple):
    """What is yielded after each stage.

    Attributes:
        t: share of the tokens that is still masked.
        x: latents, blank where they are masked.
    """

    t: float
    x: Tensor


@dataclass(frozen=True)
class TokenGenerator(Generator):
    """Makes images of a class by revealing tokens.

    Attributes:
        denoiser: the token model, what is drawn from.
        sampling: how tokens are revealed unless a call says otherwise.
    """

    denoiser: TokenModel  # type: ignore[assignment]
    sampling: MaskedSampling = field(default_factory=MaskedSampling)  # type: ignore[assignment]

    @property
    def masked(self) -> MaskedGenerator:
        """What draws tokens, under the sampling recipe.

        Raises:
            ConfigError: the recipe does not fit the model.
        """
        return self.revealing(self.denoiser.length)

    def revealing(self, total: int) -> MaskedGenerator:
        """Return what draws so many of an image's tokens, under the sampling recipe.

        Args:
            total: tokens that are masked at first.

        Raises:
            ConfigError: the recipe does not fit the model.
        """
        recipe, model = self.sampling, self.denoiser
        return MaskedGenerator(
            model,
            recipe.head_of(model.head).on(model.network),
            recipe.plan(total),
            recipe.order,
            recipe.guidance if self.classes else Flat(1.0),
            None if recipe.ranker is None else recipe.ranker.on(model.network),
            lagging=recipe.lagging,
            again=recipe.again,
        )

    def regrouped(self, reuse: int, after: int = 0) -> Self:
        """Return the same with light passes in place of some full ones; see `recap`."""
        return self.with_sampling(reuse=reuse, after=after)

    @property
    def guided(self) -> Any:
        """Nothing: guidance is part of how tokens are revealed.

        Raises:
            ConfigError: always.
        """
        raise ConfigError("a masked model has no denoiser; it is sampled from, and not walked")

    @torch.no_grad()
    def steps(self, labels: Sequence[int], seeds: Sequence[int]) -> Iterator[Frame]:  # type: ignore[override]
        """Yield the canvas after every stage, for one batch."""
        one_each(labels, seeds)
        y = torch.tensor(labels, device=self.device)
        for canvas in self.canvases(y, seeds):
            share = canvas.moment.left / canvas.moment.total
            yield Frame(share, self.denoiser.network.latents(canvas.tokens))

    def canvases(self, y: Int[Tensor, "b"], seeds: Sequence[int]) -> Iterator[Canvas]:
        """Yield the canvas of a batch after every stage, from one of which nothing is known."""
        return self.masked(y, SeededNoise(seeds))

    def to(self, device: str | torch.device, *, autocast: torch.dtype | None = None) -> Self:
        """Move the network to a device, and let it compute in another dtype there."""
        self.denoiser.to(device)
        self.denoiser.autocast = autocast
        return self

    @torch.no_grad()
    def represented(self, images: UInt8[Tensor, "b 3 H W"]) -> Float[Tensor, "b d"]:
        """Return the network's features of images, nothing of which is masked.

        Args:
            images: of the model's size.

        Raises:
            ConfigError: the network has none; MAGE does.
        """
        network = self.denoiser.network
        if not hasattr(network, "represented"):
            raise ConfigError("this network has no features to probe; expected MAGE")
        noise = SeededNoise([0] * len(images))
        codes = self.tokenizer.encode(images.to(self.device))
        return network.represented(network.tokens(self.tokenizer.latents(codes, noise)))

    def compiled(self) -> Self:
        """Return itself: its passes differ in length, and would be compiled one by one."""
        return self

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one full pass before anything is known."""
        model, device = self.denoiser, self.device
        masked = torch.ones(1, model.length, dtype=torch.bool, device=device)
        y = torch.zeros(1, dtype=torch.int64, device=device)
        return cost(model.network, model.empty(1), masked, y)


class _Stored(Config):
    model: Annotated[InstanceOf[MaskedConfig], part("model")]
    tokenizer: Annotated[InstanceOf[TokenizerConfig], part("tokenizer")]
    classes: tuple[str, ...]
    sampling: MaskedSampling = MaskedSampling()


__all__ = ["Frame", "MaskedConfig", "TokenGenerator", "TokenModel"]
