"""A LiT made of a DiT: what it inherits, what it refuses, and other sizes of either."""

import pytest
import torch

from mezzotint import config
from mezzotint.convert import Inheritance, inherit, lit_from_dit
from mezzotint.errors import CheckpointError, ConfigError
from mezzotint.networks.dit import DiTConfig, resized
from mezzotint.networks.lit import LiT, LiTConfig
from mezzotint.official.lit import to_official

SHAPE = {"channels": 3, "size": (8, 12), "num_classes": 4, "depth": 2, "width": 24, "heads": 4}
X = torch.randn(2, 3, 8, 12)
TIME, Y = torch.tensor([10.0, 900.0]), torch.tensor([1, 4])


def teacher(**changes):
    """A DiT whose every tensor but the positions is drawn, as if it were trained."""
    model = config.build(DiTConfig, SHAPE | changes).build()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def test_everything_but_attention_is_inherited():
    dit = teacher()
    before = {name: tensor.clone() for name, tensor in dit.state_dict().items()}
    lit, record = lit_from_dit(dit, heads=2)
    assert isinstance(lit, LiT)
    assert lit.config == LiTConfig(**SHAPE | {"heads": 2})
    ours, theirs = lit.state_dict(), dit.state_dict()
    assert all(torch.equal(theirs[name], before[name]) for name in before)
    assert all(torch.equal(ours[name], theirs[name]) for name in record.inherited)
    assert {*record.inherited, *record.fresh} == set(ours)
    assert {*record.inherited, *record.dropped} == set(theirs)
    assert all("attn" in name for name in (*record.fresh, *record.dropped))
    assert not any("attn" in name for name in record.inherited)
    attention = (lit.blocks[0].attn, dit.blocks[0].attn)
    assert not torch.equal(*(each.proj.weight for each in attention))
    assert lit.blocks[0].attn.q.bias.abs().max() == 0
    out = lit(X, TIME, Y)
    assert out.shape == X.shape
    assert out.isfinite().all()


def test_what_was_inherited_is_told_in_three_lines():
    _, record = lit_from_dit(teacher(), heads=2)
    kept, fresh, dropped = record.words()
    assert kept.startswith("inherited 24 of 40 tensors: positions, patches.proj, ")
    assert "label.table, blocks.*.mlp.*, blocks.*.modulation.linear, head" in kept
    assert fresh == (
        "fresh 16: blocks.*.attn.q, blocks.*.attn.kv, blocks.*.attn.proj, blocks.*.attn.conv"
    )
    assert dropped == "dropped 8 of the teacher's: blocks.*.attn.qkv, blocks.*.attn.proj"
    assert Inheritance((), (), ()).words()[1] == "fresh 0: none"


def test_the_projections_of_attention_are_inherited_if_asked():
    dit = teacher()
    lit, record = lit_from_dit(dit, heads=4, attention=True)
    ours, theirs = lit.blocks[1].attn, dit.blocks[1].attn
    tokens = torch.randn(2, 24, 24)
    q, k, v = theirs.qkv(tokens).chunk(3, dim=-1)
    assert torch.allclose(ours.q(tokens), q, atol=1e-6)
    assert torch.allclose(ours.kv(tokens), torch.cat([k, v], dim=-1), atol=1e-6)
    assert torch.equal(ours.proj.weight, theirs.proj.weight)
    assert not any(parameter.any() for parameter in ours.conv.parameters())
    assert record.words()[1:] == ["fresh 4: blocks.*.attn.conv", "dropped 0 of the teacher's: none"]


def test_projections_without_a_bias_drop_the_teachers():
    lit, record = lit_from_dit(teacher(), heads=4, qkv_bias=False, attention=True)
    assert lit.blocks[0].attn.q.bias is None
    assert set(record.dropped) == {f"blocks.{k}.attn.qkv.bias" for k in range(2)}


def test_a_lit_that_inherits_attention_begins_nearer_to_its_teacher():
    dit = teacher()
    wanted = dit(X, TIME, Y)
    apart = [
        (lit_from_dit(dit, heads=4, attention=own)[0](X, TIME, Y) - wanted).norm()
        for own in (True, False)
    ]
    assert apart[0] < 0.5 * apart[1]


def test_the_seed_fixes_what_is_fresh_and_nothing_else_is_drawn():
    dit = teacher()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = (lit_from_dit(dit, heads=2, seed=seed)[0] for seed in (0, 0, 1))
    assert torch.equal(torch.rand(1), expected)
    states = [lit.state_dict() for lit in (first, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    name = "blocks.0.attn.conv.weight"
    assert not torch.equal(states[0][name], states[2][name])


def test_type_mode_and_options_carry_over():
    dit = teacher(outputs=2, null_row=False).bfloat16().eval()
    lit, _ = lit_from_dit(dit, heads=1, kernel=0, qkv_bias=False)
    assert {tensor.dtype for tensor in lit.state_dict().values()} == {torch.bfloat16}
    assert not lit.training
    assert (lit.config.outputs, lit.config.null_row) == (2, False)
    assert not any(".conv." in name or "q.bias" in name for name in lit.state_dict())
    assert [p.requires_grad for p in lit.parameters()].count(False) == 1  # the positions


def test_heads_are_the_published_ones_of_a_published_width():
    with torch.device("meta"):
        dit = teacher(width=384, heads=6, depth=1)
    lit, _ = lit_from_dit(dit)
    assert lit.config.heads == 2
    assert lit.positions.device.type == "meta"


@pytest.mark.parametrize(
    ("make", "options", "said"),
    [
        (lambda: torch.nn.Linear(2, 2), {}, "a LiT is made of a DiT, not of a Linear"),
        (lambda: lit_from_dit(teacher(), heads=2)[0], {}, "not of a LiT"),
        (teacher, {}, "width 24 is of no published LiT; say how many heads"),
        (teacher, {"heads": 5}, "width 24 must be a multiple of heads 5"),
        (teacher, {"heads": 0}, "heads"),
        (teacher, {"heads": 2, "kernel": 2}, "kernel 2 must be odd, or 0"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(make, options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        lit_from_dit(make(), **options)
    assert "\n" not in str(caught.value)


def test_a_teacher_of_another_shape_is_refused():
    student = config.build(LiTConfig, SHAPE | {"heads": 2}).build().state_dict()
    with pytest.raises(CheckpointError, match=r"label\.table\.weight: .* \(5, 24\).* \(8, 24\)"):
        inherit(teacher(num_classes=7).state_dict(), student)
    with pytest.raises(CheckpointError, match="the teacher has nothing"):
        inherit({}, student)


def test_a_converted_network_runs_at_twice_the_size():
    lit, _ = lit_from_dit(teacher(), heads=2)
    larger = config.build(LiTConfig, lit.config.model_dump() | {"size": (16, 24)})
    network = larger.build()
    state = resized(lit.state_dict(), lit.config, larger)
    network.load_state_dict(state)
    out = network(torch.randn(2, 3, 16, 24), TIME, Y)
    assert out.shape == (2, 3, 16, 24)
    assert out.isfinite().all()
    fresh = larger.build().state_dict()
    assert torch.equal(state["positions"], fresh["positions"])
    assert to_official(state).keys() == to_official(lit.state_dict()).keys()


@pytest.mark.parametrize("convert", [False, True], ids=["dit", "lit"])
def test_the_same_size_is_the_identity(convert):
    network = lit_from_dit(teacher(), heads=2)[0] if convert else teacher()
    state = network.state_dict()
    same = resized(state, network.config, network.config)
    assert all(same[name] is state[name] for name in state)
    larger = network.config.model_copy(update={"size": (16, 8)})
    back = resized(resized(state, network.config, larger), larger, network.config)
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_only_the_size_may_change_and_only_under_fixed_positions():
    dit = teacher()
    larger = dit.config.model_copy(update={"size": (16, 24)})
    with pytest.raises(ConfigError, match="differ in patch too"):
        resized(dit.state_dict(), dit.config, larger.model_copy(update={"patch": 4}))
    with pytest.raises(ConfigError, match="differ in kernel, qkv_bias, floor, eps, form too"):
        resized(dit.state_dict(), dit.config, LiTConfig(**SHAPE))
    placed = LiTConfig(**SHAPE, form={"key_positions": True})
    with pytest.raises(ConfigError, match="keys have learned places"):
        resized(placed.build().state_dict(), placed, placed.model_copy(update={"size": (16, 24)}))
    torch.nn.init.normal_(dit.positions)
    with pytest.raises(ConfigError, match="not the fixed code of a 4 x 6 grid"):
        resized(dit.state_dict(), dit.config, larger)
