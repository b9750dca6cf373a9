"""What every backbone promises: its config says how it is called, and builds it."""

from typing import Any, ClassVar, Protocol

from jaxtyping import Float, Int
from torch import Tensor, nn

from mezzotint.config import Config
from mezzotint.errors import ConfigError


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
        over_tokens: whether the network knows masked tokens, of which a masked generator is made.
    """

    several: ClassVar[bool] = False
    over_tokens: ClassVar[bool] = False

    channels: int
    size: tuple[int, int]
    num_classes: int

    @classmethod
    def known(cls, shape: tuple[int, ...], vocabulary: int, num_classes: int) -> dict[str, Any]:
        """Return the fields that tokenizer and data decide.

        Args:
            shape: of a latent: channels, rows and columns.
            vocabulary: values that a token may take; 0 where latents are real numbers.
            num_classes: of the data.

        Raises:
            ConfigError: latents are codes.
        """
        if vocabulary:
            raise ConfigError(
                f"tokenizer: it gives tokens, of {vocabulary} values; this network works on real "
                "numbers, so take pixels or a KL autoencoder"
            )
        channels, *size = shape
        return {"channels": channels, "size": size, "num_classes": num_classes}

    def build(self) -> nn.Module:
        """Make the network, freshly initialised."""
        raise NotImplementedError
