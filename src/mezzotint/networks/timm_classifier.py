"""Any network of timm as a classifier: its own layers up to the pooled features, and our head.

logits = head(body(prepare(x))),    prepare: to timm's mean and deviation, perhaps resized
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from mezzotint.config import nearest
from mezzotint.errors import ConfigError, MissingExtraError
from mezzotint.networks.classifier import ClassifierNetwork, ClassifierNetworkConfig


class TimmConfig(ClassifierNetworkConfig):
    """A network of timm, freshly initialised.

    Attributes:
        name: timm's, such as "resnet50" or "deit_small_patch16_224".
        resize: side to which images are brought, bilinearly and without antialiasing; None leaves
            them as they are.
        mean, deviation: of images in [0, 1], a value a channel; ImageNet's where it is RGB.
        arguments: further ones of timm's constructor, such as {img_size: 32, patch_size: 4}.
    """

    name: str
    resize: int | None = Field(default=None, ge=1)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    deviation: tuple[float, ...] = (0.229, 0.224, 0.225)
    arguments: dict[str, Any] = Field(default_factory=dict)

    def build(self) -> "TimmClassifier":
        """Make the network, freshly initialised.

        Raises:
            MissingExtraError: timm is not installed.
            ConfigError: timm has no such network, or refuses its arguments.
        """
        return TimmClassifier(self)


class TimmClassifier(ClassifierNetwork):
    """A network of timm with a head of its own.

    Args:
        config: which one.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: TimmConfig) -> None:
        body = _body(config)
        super().__init__(config, body.num_features)
        self.body = body
        self.resize = config.resize
        for name in ("mean", "deviation"):
            given = getattr(config, name)
            values = given if len(given) == config.channels else (0.5,) * config.channels
            shaped = torch.tensor(values).view(1, -1, 1, 1)
            self.register_buffer(name, shaped, persistent=False)

    def features(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return the pooled features.

        Args:
            x: images in [-1, 1].
        """
        x = ((x + 1) / 2 - self.mean) / self.deviation
        if self.resize is not None:
            size = (self.resize, self.resize)
            x = interpolate(x, size, mode="bilinear", align_corners=False, antialias=False)
        return self.body(x)


def timm_itself() -> ModuleType:
    """Return timm.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import timm
    except ImportError:
        raise MissingExtraError("timm", "adapt") from None
    found: ModuleType = timm
    return found


def _body(config: TimmConfig) -> Any:
    timm = timm_itself()
    if not timm.is_model(config.name):
        raise ConfigError(
            f"network.name: timm has no network {config.name!r}; "
            f"{nearest(config.name, timm.list_models())}"
        )
    try:
        return timm.create_model(
            config.name, num_classes=0, in_chans=config.channels, **config.arguments
        )
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"network.arguments: timm refuses {config.arguments} for {config.name}: {error}"
        ) from None


__all__ = ["TimmClassifier", "TimmConfig", "timm_itself"]
