"""ADM: the U-Net, its upsampler, and the noisy classifier with its gradient (guidance.md)."""

import re

import torch
from torch import Tensor, nn

from mezzotint.networks.adm import ADM
from mezzotint.networks.adm_classifier import ADMClassifier
from mezzotint.official.adm import (
    classifier_config_of,
    config_of,
    from_official,
    reordered,
    to_official,
)
from tests.golden.case import Case, checks

ATOL = 2e-5


def watched(model: ADM | ADMClassifier) -> dict[str, Tensor]:
    """Return what will pass between the parts of a model, by the names of the release."""
    parts: dict[str, nn.Module] = {"time_embed": model.time, "middle_block": model.middle}
    parts |= {f"input_blocks_{i}": stage for i, stage in enumerate(model.encoder)}
    if isinstance(model, ADM):
        parts |= {f"output_blocks_{i}": stage for i, stage in enumerate(model.decoder)}
        parts |= {"label_emb": model.label} if model.label is not None else {}
    found: dict[str, Tensor] = {}
    for name, part in parts.items():
        part.register_forward_hook(lambda _m, _i, out, name=name: found.__setitem__(name, out))
    return found


def compare_taps(case: Case, found: dict[str, Tensor]) -> None:
    for name in case.outputs("tap_*"):
        key = re.sub(r"\W", "_", name.removeprefix("tap_"))
        key = re.sub(r"^(input|output)_block_", r"\1_blocks_", key)
        assert key in found, f"{name} is of no part that is watched: {sorted(found)}"
        case.expect(name, found[key].detach(), atol=ATOL)


@checks("adm", r"unet\.py:(UNetModel|SuperResModel)", "state/out.2.weight", "input/x", "output/out")
def adm_unet(case: Case) -> None:
    config = config_of(case.config, upsampler="input/low_res" in case.tensors)
    state, other = reordered(case.state, config)
    x, time = case.input("x"), case.input("timesteps").float()
    y = case.input("y") if config.num_classes else torch.zeros(len(x), dtype=torch.long)
    low = case.tensors.get("input/low_res")
    # In the other order of queries, keys and values it is the same network.
    for shape, tensors in ((other, state), (config, case.state)):
        model = ADM(shape).eval()
        model.load_state_dict(from_official(tensors))
        found = watched(model)
        with torch.no_grad():
            case.expect("out", model(x, time, y, low=low), atol=ATOL)
        compare_taps(case, found)
    assert to_official(model.state_dict()).keys() == case.state.keys()


@checks("adm", r"unet\.py:EncoderUNetModel", "state/time_embed.0.weight", "output/logits")
def adm_classifier(case: Case) -> None:
    model = ADMClassifier(classifier_config_of(case.config)).eval()
    model.load_state_dict(from_official(case.state))
    found = watched(model)
    x, y = case.input("x").requires_grad_(), case.tensors.get("input/y")
    logits = model(x, case.input("timesteps").float())
    case.expect("logits", logits, atol=ATOL)
    log_probs = logits.log_softmax(1)
    case.expect("log_probs", log_probs, atol=ATOL)
    if y is not None:
        chosen = log_probs[torch.arange(len(y)), y]
        (gradient,) = torch.autograd.grad(chosen.sum(), x)
        scale = case.config.get("classifier_scale", 1.0)
        case.expect("cond_grad", scale * gradient, atol=ATOL)
    compare_taps(case, found)
