"""LiT: parameters and multiply-adds of every published size, names both ways, what attention costs.

Multiply-adds follow the rule of lit_sizes.json: products of linear layers, of linear attention and
of convolutions, and the normaliser's; no norms, activations or embeddings.
"""

import json
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mezzotint import config
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dit import DiTConfig
from mezzotint.networks.lit import RELATIVES, LiTConfig
from mezzotint.nn.attention import Form, LinearAttention, linear_attention
from mezzotint.official import dit
from mezzotint.official.lit import config_from_official, config_of, from_official, to_official

SIZES = json.loads((Path(__file__).parent / "lit_sizes.json").read_text())
ROWS = [(name, int(heads)) for name, entry in SIZES.items() for heads in entry["by_heads"]]


def built(shape):
    with torch.device("meta"):
        return shape.build()


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def counted(network):
    """Return half of what PyTorch counts for one image, on the meta device."""
    x = torch.zeros(1, *network.latent, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, x.new_zeros(1), x.new_zeros(1, dtype=torch.int64))
    return counter.get_total_flops() / 2


def counted_by_blocks(shape):
    """Return the same from one block and from two: all blocks cost the same."""
    first, second = (counted(built(shape.model_copy(update={"depth": depth}))) for depth in (1, 2))
    return first + (shape.depth - 1) * (second - first)


def test_blocks_cost_the_same():
    shape = small().config.model_copy(update={"depth": 4})
    assert counted_by_blocks(shape) == counted(built(shape))


@pytest.mark.parametrize("name", SIZES)
def test_a_published_size_has_its_parameters_and_its_cost(name):
    entry = SIZES[name]
    shape = config_of(entry["config"])
    assert parameters(built(shape)) == entry["params"]
    assert counted_by_blocks(shape) == pytest.approx(entry["flops_or_macs"], rel=5e-3)


@pytest.mark.parametrize(("name", "heads"), ROWS)
def test_parameters_follow_the_heads(name, heads):
    entry = SIZES[name]
    wanted = entry["by_heads"][str(heads)]
    shape = config_of({**entry["config"], "lit_heads": heads})
    single = built(shape.model_copy(update={"depth": 1}))
    (block,) = single.blocks
    assert parameters(single) + (shape.depth - 1) * parameters(block) == wanted["params"]
    assert parameters(block.attn.conv) == wanted["dwc_params_per_block"]


@pytest.mark.parametrize("heads", [1, 3, 12, 96])
def test_cost_follows_the_heads(heads):
    entry = SIZES["LiT-S/2 256"]
    shape = config_of({**entry["config"], "lit_heads": heads})
    wanted = entry["by_heads"][str(heads)]["macs"]
    assert counted_by_blocks(shape) == pytest.approx(wanted, rel=5e-3)


@pytest.mark.parametrize("name", SIZES)
def test_a_preset_is_the_published_shape(name):
    wanted = config_of(SIZES[name]["config"])
    preset = LiTConfig.PRESETS[name.removeprefix("LiT-").split()[0]]
    given = {"channels": 4, "size": wanted.size, "num_classes": 1000, "outputs": 2}
    assert LiTConfig(**given, **preset) == wanted
    assert set(LiTConfig.PRESETS) == set(DiTConfig.PRESETS)


def small(**changes):
    shape = {"channels": 3, "size": (8, 8), "num_classes": 5, "depth": 2, "width": 36, "heads": 3}
    shape |= {"mlp_ratio": 2.5, "outputs": 2} | changes
    model = config.build(LiTConfig, shape).build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.parametrize(
    "changes",
    [{}, {"null_row": False, "outputs": 1}, {"qkv_bias": False, "kernel": 3}, {"kernel": 0}],
    ids=["as released", "no null row", "no bias", "no convolution"],
)
def test_names_go_both_ways_bit_for_bit(changes):
    model = small(**changes)
    ours = model.state_dict()
    official = to_official(ours)
    assert {"blocks.1.attn.q.weight", "blocks.1.attn.kv.weight"} <= official.keys()
    assert ("blocks.1.attn.dwc.weight" in official) == (model.config.kernel > 0)
    back = from_official(official)
    assert list(back) == list(ours)
    assert all(torch.equal(back[name], ours[name]) for name in ours)
    heads = None if model.config.kernel else 3
    read = config_from_official(official, null_row=model.config.null_row, heads=heads)
    assert read == model.config


def test_a_fused_projection_is_read():
    official = to_official(small().state_dict())
    fused = dict(official)
    for part in [name for name in official if ".attn.q." in name]:
        rest = part.replace(".q.", ".kv.")
        fused[part.replace(".q.", ".qkv.")] = torch.cat([fused.pop(part), fused.pop(rest)])
    assert config_from_official(fused) == small().config
    ours, wanted = from_official(fused), from_official(official)
    assert ours.keys() == wanted.keys()
    assert all(torch.equal(ours[name], wanted[name]) for name in ours)


def test_a_foreign_tensor_is_named():
    official = to_official(small().state_dict())
    official["blocks.0.attn.q_norm.weight"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"1 of \d+ .* LiT: blocks\.0\.attn\.q_norm\.weight"):
        from_official(official)
    with pytest.raises(CheckpointError, match="not of DiT"):
        dit.from_official(to_official(small().state_dict()))


def test_heads_are_told_by_the_convolution_alone():
    official = to_official(small(kernel=0).state_dict())
    with pytest.raises(ConfigError, match="say how many"):
        config_from_official(official)
    with pytest.raises(ConfigError, match="heads 6: this LiT has 3"):
        config_from_official(to_official(small().state_dict()), heads=6)
    strange = to_official(small().state_dict())
    strange["blocks.0.attn.dwc.weight"] = torch.ones(7, 1, 5, 5)
    with pytest.raises(CheckpointError, match="a head of 7 channels does not divide 36"):
        config_from_official(strange)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kernel": 4}, "kernel 4 must be odd, or 0"),
        ({"heads": 5}, "width 36 must be a multiple of heads 5"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_one_line(changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        small(**changes)
    assert "\n" not in str(caught.value)


class Watched(TorchDispatchMode):
    """Remembers the largest tensor made inside, and the types of matrix products of maps."""

    def __init__(self):
        super().__init__()
        self.largest, self.products = 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.largest = max(self.largest, out.numel())
            if function is torch.ops.aten.bmm.default:
                self.products.add(out.dtype)
        return out


def test_memory_is_linear_in_the_tokens():
    rows, columns, width = 64, 128, 16
    attention = LinearAttention(width, 2, shape=(rows, columns)).to("meta")
    with Watched() as watched:
        attention(torch.zeros(1, rows * columns, width, device="meta"))
    assert watched.largest <= 2 * rows * columns * width


def test_sums_over_tokens_are_single_precision_under_autocast():
    attention = LinearAttention(16, 2, shape=(4, 6))
    tokens = torch.randn(2, 24, 16)
    exact = attention(tokens)
    with Watched() as watched, torch.autocast("cpu", dtype=torch.bfloat16):
        rough = attention(tokens)
    assert watched.products == {torch.float32}
    assert rough.dtype == torch.bfloat16
    assert (rough - exact).abs().max() < 0.02
    half = LinearAttention(16, 2, shape=(4, 6)).bfloat16()
    assert half(tokens.bfloat16()).dtype == torch.bfloat16


def test_it_is_what_weights_between_all_pairs_of_tokens_say():
    """Double precision stays double, and the cheap order of products changes nothing."""
    rows, columns, width, heads = 3, 5, 12, 2
    attention = LinearAttention(width, heads, shape=(rows, columns), kernel=3).double()
    x = torch.randn(2, rows * columns, width, dtype=torch.float64)
    q, (k, v) = attention.q(x), attention.kv(x).chunk(2, dim=-1)
    grid = torch.zeros(2, rows, columns, width, dtype=torch.float64)
    kernel, depth = attention.conv.weight[:, 0], width // heads
    padded = torch.nn.functional.pad(v.view(2, rows, columns, width), (0, 0, 1, 1, 1, 1))
    for i in range(3):
        for j in range(3):
            grid += padded[:, i : i + rows, j : j + columns] * kernel[:, i, j].repeat(heads)
    local = grid.flatten(1, 2) + attention.conv.bias.repeat(heads)
    parts = []
    for head in range(heads):
        each = slice(head * depth, (head + 1) * depth)
        pairs = (q[..., each].relu() + 1e-6) @ (k[..., each].relu() + 1e-6).transpose(1, 2)
        parts.append(pairs @ v[..., each] / (pairs.sum(-1, keepdim=True) + rows * columns * 1e-6))
    wanted = attention.proj(torch.cat(parts, dim=-1) + local)
    assert torch.allclose(attention(x), wanted, atol=1e-12)


def shape_of(**changes):
    return LiTConfig(
        channels=3, size=(4, 6), num_classes=2, depth=1, width=16, heads=2, patch=1, **changes
    )


def random(shape):
    model = shape.build()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.double()


@pytest.mark.parametrize("name", RELATIVES)
def test_a_relative_trains_and_its_settings_come_back(name):
    made = shape_of(**RELATIVES[name])
    tree = {key: value for key, value in config.dump(made).items() if key != "kind"}
    assert config.build(LiTConfig, tree) == made
    model = random(made).float()
    x, t, y = torch.randn(2, 3, 4, 6), torch.ones(2), torch.zeros(2).long()
    model(x, t, y).square().mean().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in model.blocks.parameters())
    model.load_state_dict(random(made).state_dict())


def test_the_focused_attention_is_its_formula():
    """Cubes of relu(x) + 1e-6 over softplus(scale), as long as before; positions on the keys."""
    model = random(shape_of(**RELATIVES["focused"]))
    attention, x = model.blocks[0].attn, torch.randn(2, 24, 16, dtype=torch.float64)
    state = attention.state_dict()

    def phi(features):
        y = (features.relu() + 1e-6) / torch.log1p(state["features.scale"].exp())
        return y**3 * y.norm(dim=2, keepdim=True) / (y**3).norm(dim=2, keepdim=True)

    q, (k, v) = attention.q(x), attention.kv(x).chunk(2, dim=-1)
    left, right = phi(q), phi(k + state["places"])
    parts = []
    for head in (slice(0, 8), slice(8, 16)):
        pairs = left[..., head] @ right[..., head].transpose(1, 2)
        parts.append(pairs @ v[..., head] / (pairs.sum(-1, keepdim=True) + 24e-6))
    wanted = attention.proj(torch.cat(parts, dim=-1) + attention.conv(v))
    assert torch.allclose(attention(x), wanted, atol=1e-12)


def test_the_attention_of_sana_divides_by_the_plain_sum():
    model = random(shape_of(**RELATIVES["sana"]))
    attention, x = model.blocks[0].attn, torch.randn(2, 24, 16, dtype=torch.float64)
    q, (k, v) = attention.q(x).relu(), attention.kv(x).chunk(2, dim=-1)
    parts = []
    for head in (slice(0, 8), slice(8, 16)):
        # A row of ones under the values gives the sum of the weights beside their products.
        ones = torch.cat([v[..., head], torch.ones(2, 24, 1)], dim=-1)
        out = q[..., head] @ (k.relu()[..., head].transpose(1, 2) @ ones)
        parts.append(out[..., :-1] / (out[..., -1:] + 1e-15))
    assert torch.allclose(attention(x), attention.proj(torch.cat(parts, -1)), atol=1e-10)


def test_a_convolution_of_the_inputs_has_a_kernel_a_channel():
    model = random(shape_of(**RELATIVES["lina"]))
    attention, x = model.blocks[0].attn, torch.randn(2, 24, 16, dtype=torch.float64)
    assert attention.conv.weight.shape == (16, 1, 5, 5)
    q, (k, v) = attention.q(x), attention.kv(x).chunk(2, dim=-1)
    cells = x.unflatten(1, (4, 6)).permute(0, 3, 1, 2)
    local = torch.nn.functional.conv2d(
        cells, attention.conv.weight, attention.conv.bias, padding=2, groups=16
    )
    wanted = attention.proj(attention.mixed(q, k, v) + local.flatten(2).transpose(1, 2))
    assert torch.allclose(attention(x), wanted, atol=1e-12)


def test_queries_and_keys_have_unit_mean_square_if_asked():
    attention = LinearAttention(16, 2, shape=(4, 6), form=Form(qk_norm=True)).double()
    x = torch.randn(2, 24, 16, dtype=torch.float64)
    q, (k, v) = attention.q(x), attention.kv(x).chunk(2, dim=-1)
    plain = LinearAttention(16, 2, shape=(4, 6)).double()
    unit = [each / each.square().mean(-1, keepdim=True).sqrt() for each in (q, k)]
    assert torch.allclose(attention.mixed(q, k, v), plain.mixed(*unit, v), atol=1e-9)


def test_equal_values_are_kept_by_weights_that_sum_to_one():
    q, k = torch.rand(1, 2, 9, 4) + 0.1, torch.rand(1, 2, 9, 4) + 0.1
    out = linear_attention(q, k, torch.full((1, 2, 9, 3), 5.0))
    assert torch.allclose(out, torch.full_like(out, 5.0), atol=1e-4)
