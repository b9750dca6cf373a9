"""DiCo: the network, its modules, guided chains and a step of training (dico.md)."""

from typing import Any

import torch
from torch import Tensor, nn

from mezzotint.networks.dico import Block, ChannelAttention, DiCo, Head, Resampling
from mezzotint.nn.modulate import modulate
from mezzotint.official.dico import BLOCK, STAGES, config_of, from_official, to_official
from mezzotint.official.renames import Renames
from tests.golden.case import Case, checks
from tests.golden.check_dit import FORWARD, guided_chain, guided_forward, heard, train_step

GRADIENT = 1e-5
SMALL_VARIANCE = 5e-5
ROOT_WEIGHT = "state/x_embedder.proj.weight"
BETWEEN = ("down1_2", "down2_3", "up3_2", "up2_1", "reduce_chan_level2", "reduce_chan_level1")
NAMES = Renames("a DiCo block", tuple((f"{theirs}.*", f"{ours}.*") for theirs, ours in BLOCK))
HEAD = Renames(
    "DiCo's head",
    (("adaLN_modulation.1.*", "modulation.linear.*"), ("out_proj.*", "conv.*")),
)
RESAMPLING = Renames("DiCo's resampling", (("body.0.weight", "conv.weight"),))


def first(tensor: Tensor) -> Tensor:
    """Put the channels of a map first, as the release has them; a vector stays as it is."""
    return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor


def last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1)


def network(case: Case) -> DiCo:
    model = DiCo(config_of(case.config)).eval()  # whose size is none of the cases'
    model.load_state_dict(from_official(case.state))
    return model


def parts_of(model: DiCo) -> dict[str, nn.Module]:
    """Return the parts that a case may have listened to, by their official names."""
    parts: dict[str, nn.Module] = {"x_embedder": model.stem, "final_layer": model.head}
    parts |= dict(zip(STAGES, model.stages, strict=True))
    parts |= {f"t_embedder_{k + 1}": embed for k, embed in enumerate(model.times)}
    between = (*model.downs, *model.ups, *model.joins)
    return parts | dict(zip(BETWEEN, between, strict=True))


@checks("dico", r":DiCo$", ROOT_WEIGHT, "input/x", "output/out")
def dico_forward(case: Case) -> None:
    model = network(case)
    with torch.no_grad(), heard(parts_of(model)) as found:
        out = model(case.input("x"), case.input("t").float(), case.input("y"))
    case.expect("out", out, atol=FORWARD)
    for name, tensor in found.items():
        case.expect(f"tap_{name}", first(tensor), atol=FORWARD)


@checks("dico", r"forward_with_cfg", ROOT_WEIGHT, "output/cfg_*")
def dico_guided(case: Case) -> None:
    guided_forward(case, network(case), case.input("t").float())


@checks("dico", r"DiCoBlock, LayerNorm2d", "input/x", "input/c", "state/*conv1.weight")
def dico_modules(case: Case) -> None:
    config = case.config
    width = config["hidden_size"]
    hidden = int(width * config["mlp_ratio"])
    attention = ChannelAttention(width)
    block = Block(width, hidden, kernel=3, attention=attention)
    head = Head(width, config["final_out_channels"])
    down = Resampling(width, width // 2, nn.PixelUnshuffle(2))
    up = Resampling(width, 2 * width, nn.PixelShuffle(2))
    filled(case, block, NAMES, "block")
    filled(case, head, HEAD, "final", "final_layer")
    filled(case, down, RESAMPLING, "downsample", "down")
    filled(case, up, RESAMPLING, "upsample", "up")
    x, c, small = case.input("x"), case.input("c"), case.input("x_small_variance")
    inside(case, block, attention, last(x), c)
    found: dict[str, tuple[Any, float]] = {
        "block_small_variance": (block(last(small), c), SMALL_VARIANCE),
        "layernorm2d": (block.norm(last(x)), FORWARD),
        "layernorm2d_small_variance": (block.norm(last(small)), SMALL_VARIANCE),
        "modulate": (modulate(last(x), c, c.flip(0)), FORWARD),
        "downsample": (down(last(x)), FORWARD),
        "upsample": (up(last(x)), FORWARD),
        "final": (head(last(x), c), FORWARD),
        "final_small_variance": (head(last(small), c), SMALL_VARIANCE),
    }
    for name, (tensor, atol) in found.items():
        case.expect(name, first(tensor), atol=atol)


def filled(case: Case, module: nn.Module, names: Renames, *prefixes: str) -> None:
    """Load what a case keeps under the first of the prefixes that it has."""
    state = next(found for p in prefixes if (found := case.under(f"state/{p}.")))
    module.load_state_dict(names.to_ours(state))


def inside(case: Case, block: Block, attention: ChannelAttention, x: Tensor, c: Tensor) -> None:
    """Compare a block and what passes inside it."""
    parts = {"depthwise": block.depthwise, "activation": block.activation}
    with torch.no_grad(), heard(parts) as found:
        out = block(x, c)
    gate = attention.gate(found["activation"])
    case.expect("block", first(out), atol=FORWARD)
    case.expect("block_conv2", first(found["depthwise"]), atol=FORWARD)
    case.expect("block_cca_gate", first(gate), atol=FORWARD)


@checks("dico", r"sample_ddp\.py", ROOT_WEIGHT, "output/samples", "input/noises")
def dico_guided_chain(case: Case) -> None:
    guided_chain(case, network(case))


@checks("dico", r"train_accelerate\.py", ROOT_WEIGHT, "output/terms_loss", "output/grad/*")
def dico_train_step(case: Case) -> None:
    train_step(case, network(case), to_official, gradient=GRADIENT)
