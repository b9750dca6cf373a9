"""MAR's network: full and cheap passes, tokens and latents, and the head's own network."""

import pytest
import torch

from mezzotint.config import load
from mezzotint.errors import ConfigError, DataError
from mezzotint.networks.mar import MAR
from mezzotint.networks.mar_slots import KeptSlots
from mezzotint.networks.token_mlp import TokenMLPConfig

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def small(**changes) -> MAR:
    shape = {"channels": 2, "size": [4, 4], "num_classes": 3, "width": 8, "depth": 2, "heads": 2}
    shape |= {"head": {"kind": "token-mlp", "width": 6, "depth": 1}, "buffer": 2}
    torch.manual_seed(0)
    model = load("network", {"kind": "mar", **shape, **changes}).build().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.requires_grad_(requires_grad=False)


def half(model: MAR, batch: int = 2):
    """Return tokens, a mask that leaves as many in each row, and labels."""
    tokens = torch.randn(batch, model.length, model.config.values)
    order = torch.rand(batch, model.length).argsort(1)
    return tokens, order < model.length // 2, torch.arange(batch)


@pytest.mark.parametrize("kept", [False, True])
def test_a_cheap_pass_over_unchanged_tokens_is_the_full_pass(kept):
    model = small(decoder_width=12, decoder_depth=3, decoder_heads=3)
    network = KeptSlots(model) if kept else model
    tokens, masked, y = half(model)
    z, context = network.prefill(tokens, masked, y)
    known, unknown = ((~masked).nonzero()[:, 1].view(2, -1), masked.nonzero()[:, 1].view(2, -1))
    for where in (unknown[:, :3], torch.cat([unknown[:, :2], known[:, 1:4]], dim=1), known[:, :2]):
        again = network.extend(tokens, masked, where, context, y)
        torch.testing.assert_close(again, z.gather(1, where[..., None].expand_as(again)), **CLOSE)


def test_a_cheap_pass_over_all_tokens_is_a_full_pass_whatever_changed():
    model = small()
    tokens, masked, y = half(model)
    _, context = model.prefill(tokens, masked, y)
    now = masked & (torch.arange(model.length) % 2 == 0)
    now = now[:1].expand_as(now)
    other = torch.randn_like(tokens)
    everything = torch.rand(2, model.length).argsort(1)
    light = model.extend(other, now, everything, context, y)
    full, _ = model.prefill(other, now, y)
    torch.testing.assert_close(
        light, full.gather(1, everything[..., None].expand_as(full)), **CLOSE
    )


def test_a_cheap_pass_sees_what_became_known_in_its_group():
    model = small()
    tokens, masked, y = half(model)
    _, context = model.prefill(tokens, masked, y)
    where = masked.nonzero()[:, 1].view(2, -1)[:, :3]
    now = masked.scatter(1, where[:, :1], value=False)
    first = model.extend(tokens, now, where, context, y)
    changed = tokens.scatter_add(1, where[:, :1, None].expand(-1, -1, 2), torch.ones(2, 1, 2))
    second = model.extend(changed, now, where, context, y)
    assert (first - second).abs().amax(2).min() > 1e-4


def test_masked_values_do_not_matter_and_classes_do():
    model = small()
    tokens, masked, y = half(model)
    z = model(tokens, masked, y)
    noisy = torch.where(masked[..., None], torch.full_like(tokens, 9.0), tokens)
    assert torch.equal(model(noisy, masked, y), z)
    assert not torch.allclose(model(tokens, masked, torch.full_like(y, model.null)), z, atol=1e-3)
    every = torch.ones_like(masked)
    assert torch.equal(model(tokens, every, y), model(model.empty(2), every, y))


def test_masks_of_different_sizes_are_refused():
    model = small()
    tokens, masked, y = half(model)
    masked[0] = False
    with pytest.raises(DataError, match=r"leave 8 to 16 tokens.*same number"):
        model(tokens, masked, y)


def test_tokens_are_patches_whose_channels_change_slowest():
    model = small(patch=2)
    x = torch.arange(32.0).view(1, 2, 4, 4)
    tokens = model.tokens(x)
    assert tokens.shape == (1, 4, 8)
    assert tokens[0, 1].tolist() == [2, 3, 6, 7, 18, 19, 22, 23]
    assert torch.equal(model.latents(tokens), x)


def test_only_training_drops():
    model = small()
    tokens, masked, y = half(model)
    assert torch.equal(model(tokens, masked, y), model(tokens, masked, y))
    model.train()
    assert not torch.equal(model(tokens, masked, y), model(tokens, masked, y))
    sober = small(dropout=0.0, attention_dropout=0.0).train()
    assert torch.equal(sober(tokens, masked, y), sober(tokens, masked, y))


def test_what_the_release_lets_decay():
    model = small()
    assert all(name.startswith("head.") for name in model.undecayed)
    assert len(model.undecayed) == len(list(model.head.parameters()))


def test_the_head_is_told_what_it_reads_and_writes():
    model = small(patch=2, decoder_width=12, decoder_heads=3)
    assert (model.head.config.channels, model.head.config.condition) == (8, 12)
    told = {"kind": "token-mlp", "width": 4, "depth": 1, "channels": 5}
    with pytest.raises(ConfigError, match=r"head\.channels 5 must be 2; leave it out"):
        small(head=told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "width 8 must be a multiple of heads 3"),
        ({"decoder_width": 9}, "decoder_width 9 must be a multiple of decoder_heads 2"),
        ({"patch": 3}, "patch 3 must divide"),
        ({"head": {"kind": "dit"}}, "head"),
    ],
)
def test_shapes_that_do_not_fit_are_said(changes, message):
    with pytest.raises(ConfigError, match=message):
        small(**changes)


def test_a_tokens_mlp_starts_at_zero_and_mixes_no_rows():
    head = TokenMLPConfig(channels=3, condition=5, width=8, depth=2).build()
    x, t, z = torch.randn(4, 3), torch.full((4,), 7.0), torch.randn(4, 5)
    assert torch.equal(head(x, t, z), torch.zeros(4, 6))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    out = head(x, t, z)
    torch.testing.assert_close(head(x[2:3], t[:1], z[2:3]), out[2:3])
    assert not torch.allclose(head(x, t, z.flip(0)), out)
