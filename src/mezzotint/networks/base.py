"""What every backbone promises: its config says how it is called, and builds it."""

from typing import ClassVar, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from mezzotint.config import Config


class Network(Protocol):
    """A map from (x, network time, class) to raw outputs; knows no noise schedule.

    Attributes:
        null: label of the null class, after the last class; None where there is none.
        latent: channels, rows and columns of x.
        class_rows: names of the tensors that hold a row for each class.
    """

    null: int | None
    latent: tuple[int, int, int]
    class_rows: tuple[str, ...]

    def __call__(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Int[Tensor, "b"]
    ) -> Float[Tensor, "b k h w"]:
        """Return the raw outputs."""
        ...


class NetworkConfig(Config):
    """Base of the backbones' configs.

    Attributes:
        channels: channels of x.
        size: rows and columns of x.
        num_classes: classes K; labels run from 0 to K - 1 and K is the null class.
        several: whether the network predicts at several resolutions, lowest first, which takes a
            prediction that reads them.
    """

    several: ClassVar[bool] = False

    channels: int
    size: tuple[int, int]
    num_classes: int

    def build(self) -> nn.Module:
        """Make the network, freshly initialised."""
        raise NotImplementedError
