"""Zero-shot over prompts: a text-to-image U-Net as a denoiser, and texts as its conditions.

    denoiser = unet_denoiser(pipe.unet, pipe.scheduler.config)
    prompts = Prompts(embedded(texts, pipe.tokenizer, pipe.text_encoder), labels)
    DiffusionClassifier(denoiser, labelling=prompts).fit(None, labels).predict(latents)

Nothing is imported from diffusers or transformers: what they make is called. Latents are the means
of the autoencoder's posterior times its scale; `mezzotint convert --from kl` reads its weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mezzotint.diffusion.betas import LinearBetas, ScaledLinearBetas, Schedule
from mezzotint.diffusion.denoiser import NetworkDenoiser
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.predictions import Eps
from mezzotint.errors import ConfigError, DataError

TEMPLATES: Final[Mapping[str, str]] = {
    "cifar": "a blurry photo of a {}.",
    "food": "a photo of {}, a type of food.",
    "aircraft": "a photo of a {}, a type of aircraft.",
    "pets": "a photo of a {}, a type of pet.",
    "flowers": "a photo of a {}, a type of flower.",
    "objects": "a photo of a {}.",
    "mnist": "a photo of the number: '{}'.",
}
"""The prompts of arXiv 2303.16203; "objects" are those of STL-10, ImageNet and ObjectNet."""

_BETAS: Final[Mapping[str, type[LinearBetas] | type[ScaledLinearBetas]]] = {
    "linear": LinearBetas,
    "scaled_linear": ScaledLinearBetas,
}


class Conditioned(nn.Module):
    """A U-Net of diffusers as a network: (x, time, text) to noise.

    Args:
        unet: takes a sample, a timestep and `encoder_hidden_states`.
    """

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, x: Float[Tensor, "b c h w"], time: Float[Tensor, "b"], y: Float[Tensor, "b l d"]
    ) -> Float[Tensor, "b c h w"]:
        """Return the predicted noise."""
        out: Tensor = self.unet(x, time, encoder_hidden_states=y.to(x.dtype), return_dict=False)[0]
        return out


def unet_denoiser(unet: nn.Module, scheduler: Mapping[str, Any]) -> NetworkDenoiser:
    """Return a text-to-image U-Net as a denoiser, in float32 (see the trap of half precision).

    Args:
        unet: such as `UNet2DConditionModel`, 1.x and 2.x base; put into evaluation mode.
        scheduler: its `scheduler_config`: `beta_schedule`, `beta_start`, `beta_end`,
            `num_train_timesteps` and `prediction_type`.

    Raises:
        ConfigError: a schedule or a prediction that this does not know.
    """
    kind = scheduler.get("prediction_type", "epsilon")
    if kind != "epsilon":
        raise ConfigError(
            f"prediction_type {kind!r}: only epsilon is read, as in the published experiments; "
            "take a base model such as stable-diffusion-2-1-base"
        )
    name = scheduler.get("beta_schedule", "scaled_linear")
    if name not in _BETAS:
        raise ConfigError(f"beta_schedule {name!r}; expected one of: {', '.join(_BETAS)}")
    ends = scheduler.get("beta_start", 0.00085), scheduler.get("beta_end", 0.012)
    betas: Schedule = _BETAS[name](*ends)
    path = DiscreteVP(betas, scheduler.get("num_train_timesteps", 1000))
    network = Conditioned(unet.float().eval().requires_grad_(requires_grad=False))
    return NetworkDenoiser(network, path, Eps())


def filled(template: str, names: Sequence[str]) -> list[str]:
    """Return a prompt for each class name.

    Args:
        template: with {} where the name belongs.
        names: of the classes.

    Raises:
        DataError: there is no place for the name.
    """
    if "{}" not in template:
        raise DataError(f"template {template!r}: no place for the name of a class; write {{}}")
    return [template.replace("{}", name) for name in names]


@torch.no_grad()
def embedded(
    texts: Sequence[str], tokenizer: Any, encoder: nn.Module
) -> Float[Tensor, "p tokens width"]:
    """Return the last hidden states of a text encoder, padded to its greatest length.

    Args:
        texts: one a candidate.
        tokenizer: of transformers.
        encoder: of transformers, such as `CLIPTextModel`.

    Raises:
        DataError: no text.
    """
    if not texts:
        raise DataError("no prompt was given; expected at least one a class")
    tokens = tokenizer(
        list(texts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    found: Tensor = encoder(tokens.input_ids.to(next(encoder.parameters()).device))[0]
    return found


__all__ = ["TEMPLATES", "Conditioned", "embedded", "filled", "unet_denoiser"]
