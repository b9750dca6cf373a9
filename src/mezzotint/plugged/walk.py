"""How a chain walks, as a recipe and a checkpoint say it; the published variants by name.

d = e1 (R(h) - h) + e2 d log p(y | h) / dh + e3 z        h <- bounds(h + stride(d))
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from mezzotint.config import Config, part
from mezzotint.diffusion.conditions import OneHot, Reading
from mezzotint.diffusion.denoiser import Denoiser
from mezzotint.diffusion.langevin import (
    DGN_AM,
    NOISELESS,
    PPGN_H,
    Bounds,
    MeanAbs,
    Prior,
    Restart,
    Stride,
    Weights,
)
from mezzotint.diffusion.priors import DenoiserPrior, Reconstruction
from mezzotint.errors import ConfigError
from mezzotint.noise import Noise


class Pieces(NamedTuple):
    """What a model offers to a chain.

    Attributes:
        shape: of a code.
        view: from codes to the images that an encoder reads.
        encoder: from images to codes, or None.
        autoencoder: from noisy codes to codes, or None.
        denoiser: of codes, or None.
        y: what the denoiser is asked for.
        draw: from noise, a row a chain, to codes of the model's own making; or None.
        seen: least and largest value of each number of a code in the data, or None.
    """

    shape: tuple[int, ...]
    view: Callable[[Tensor], Tensor]
    encoder: Callable[[Tensor], Tensor] | None = None
    autoencoder: Callable[[Tensor], Tensor] | None = None
    denoiser: Denoiser | None = None
    y: int = 0
    draw: Callable[[Noise, Tensor], Tensor] | None = None
    seen: tuple[Tensor, Tensor] | None = None


@runtime_checkable
class CodePrior(Protocol):
    """Which of a model's pieces draws codes towards likely ones."""

    def of(self, pieces: Pieces) -> Prior | None:
        """Return the prior, or None for a chain without one.

        Raises:
            ConfigError: the model does not have what it takes.
        """
        ...


@dataclass(frozen=True)
class NoPrior:
    """None: the gradient alone, as in DGN-AM."""

    def of(self, pieces: Pieces) -> None:  # noqa: ARG002 (it needs none of them)
        """Return None."""
        return


@dataclass(frozen=True)
class Reencoded:
    """E(G(h)): what the encoder reads off the image; of Joint and Noiseless Joint PPGN-h."""

    def of(self, pieces: Pieces) -> Prior:
        """Return the prior."""
        if pieces.encoder is None:
            raise ConfigError(_lacks("an encoder", "reconstruction", "denoiser, or none"))
        return Reconstruction(pieces.view, pieces.encoder)


@dataclass(frozen=True)
class Autoencoded:
    """A denoising autoencoder of codes; of PPGN-h."""

    def of(self, pieces: Pieces) -> Prior:
        """Return the prior."""
        if pieces.autoencoder is None:
            raise ConfigError(
                _lacks("an autoencoder of codes", "autoencoder", "reconstruction, or none")
            )
        return pieces.autoencoder


@dataclass(frozen=True)
class Denoised:
    """The model's own denoiser at one low noise level: the modern form.

    Args:
        t: the noise level.
    """

    t: Annotated[float, Field(gt=0, lt=1)] = 0.3

    def of(self, pieces: Pieces) -> Prior:
        """Return the prior."""
        if pieces.denoiser is None:
            raise ConfigError(_lacks("a denoiser", "denoiser", "reconstruction, or none"))
        return DenoiserPrior(pieces.denoiser, self.t, pieces.y)


def _lacks(what: str, prior: str, others: str) -> str:
    return f"prior {prior}: this model has no {what.split(' ', 1)[1]}; set prior to {others}"


@runtime_checkable
class Limits(Protocol):
    """What codes are clipped to."""

    def of(self, pieces: Pieces) -> Bounds | None:
        """Return the least and the largest value, or None."""
        ...


@dataclass(frozen=True)
class Unbounded:
    """Codes are not clipped."""

    def of(self, pieces: Pieces) -> None:  # noqa: ARG002 (it needs none of them)
        """Return None."""
        return


@dataclass(frozen=True)
class Between:
    """The same two numbers for all codes; [0, 30] in the release.

    Args:
        low, high: least and largest value.
    """

    low: float = 0.0
    high: float = 30.0

    def of(self, pieces: Pieces) -> Bounds:  # noqa: ARG002 (it needs none of them)
        """Return them."""
        return self.low, self.high


@dataclass(frozen=True)
class Seen:
    """What the codes of the training images stayed within; nothing, where that is not known.

    Args:
        each: clip each number of a code to its own range; else all to the widest.
    """

    each: bool = False

    def of(self, pieces: Pieces) -> Bounds | None:
        """Return the bounds."""
        if pieces.seen is None:
            return None
        low, high = pieces.seen
        return (low, high) if self.each else (float(low.min()), float(high.max()))


@runtime_checkable
class Start(Protocol):
    """Where chains begin, unless they begin at an image."""

    def __call__(self, pieces: Pieces, like: Float[Tensor, "b ..."], noise: Noise) -> Tensor:
        """Return codes, a row a chain, shaped as `like`."""
        ...


@dataclass(frozen=True)
class Normal:
    """N(0, 1), not clipped, as in the release.

    Args:
        deviation: what the draws are multiplied by.
    """

    deviation: Annotated[float, Field(ge=0)] = 1.0

    def __call__(
        self,
        pieces: Pieces,  # noqa: ARG002 (it needs none of them)
        like: Float[Tensor, "b ..."],
        noise: Noise,
    ) -> Tensor:
        """Draw."""
        return self.deviation * noise(like)


@dataclass(frozen=True)
class Drawn:
    """Samples of the model itself without a condition; from noise a chain takes too long."""

    def __call__(self, pieces: Pieces, like: Float[Tensor, "b ..."], noise: Noise) -> Tensor:
        """Draw.

        Raises:
            ConfigError: the model draws no codes.
        """
        if pieces.draw is None:
            raise ConfigError("start drawn: this model draws no codes itself; set start to normal")
        return pieces.draw(noise, like)


_ONE_HOT: dict[str, Any] = {"kind": "one-hot"}
_RELEASED: dict[str, Any] = {"stride": {"kind": "mean-abs"}, "reading": _ONE_HOT}


class Walk(Config):
    """How a chain walks.

    Presets name the paper's variants in the form of the released code, which normalises the step
    and clips codes; `gate` is the plain equation with coefficients that suit small networks, and
    `denoiser` the modern form, with coefficients found by looking at a small model of emoji.

    Attributes:
        steps: of a chain.
        weights: e1, e2, e3.
        around: e4, the weight of what stands around a hole.
        prior: which prior.
        stride: how far a step goes.
        reading: how activations become log p, and what its gradient is.
        bounds: what codes are clipped to.
        start: where chains begin.
        restart: when codes are drawn anew, or null.
        balance: rho: e1 is chosen so that |e1 pull| = rho |e2 push|; or null.
        enough: probability at which a chain has arrived and rests; 1 is never.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "noiseless-joint": {"weights": asdict(NOISELESS), "prior": "reconstruction", **_RELEASED},
        "joint": {"weights": asdict(PPGN_H), "prior": "reconstruction", **_RELEASED},
        "ppgn-h": {"weights": asdict(PPGN_H), "prior": "autoencoder", **_RELEASED},
        "dgn-am": {"weights": asdict(DGN_AM), "prior": "none", **_RELEASED},
        "gate": {
            "steps": 100,
            "weights": {"prior": 0.1},
            "prior": "reconstruction",
            "stride": "plain",
            "reading": "log-softmax",
            "bounds": "seen",
        },
        "denoiser": {
            "steps": 100,
            "weights": {"prior": 0.1, "condition": 10.0, "noise": 0.03},
            "prior": "denoiser",
            "stride": "plain",
            "reading": "log-softmax",
            "bounds": "none",
            "start": "drawn",
        },
    }

    steps: int = Field(default=200, ge=1)
    weights: Weights = NOISELESS
    around: float = Field(default=1e-9, ge=0)
    prior: Annotated[CodePrior, part("code-prior")] = Reencoded()
    stride: Annotated[Stride, part("stride")] = MeanAbs()
    reading: Annotated[Reading, part("reading")] = OneHot()
    bounds: Annotated[Limits, part("bounds")] = Seen()
    start: Annotated[Start, part("start")] = Normal()
    restart: Restart | None = None
    balance: float | None = Field(default=None, ge=0)
    enough: float = Field(default=1.0, gt=0, le=1)


__all__ = [
    "Autoencoded",
    "Between",
    "CodePrior",
    "Denoised",
    "Drawn",
    "Limits",
    "NoPrior",
    "Normal",
    "Pieces",
    "Reencoded",
    "Seen",
    "Start",
    "Unbounded",
    "Walk",
]
