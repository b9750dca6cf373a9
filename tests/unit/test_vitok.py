"""ViTok's first form beyond its published shapes, and its discriminator."""

import pytest
import torch

from mezzotint import config
from mezzotint.nn.adversarial import StyleBlock, StyleDiscriminator
from tests.tokenizers import HALVES


def tables(tokens: int, **changes):
    """Return an autoencoder whose decoder alone has a table, and its codes."""
    halves = {half: {**HALVES[half], "width": 12} for half in ("encoder", "decoder")}
    table = {"kind": "learned", "encoded": False}
    tree = {"size": 8, "patch": 4, "frames": 4, "tubelet": 2, "latent_channels": 3, "table": table}
    made = config.load("network", {"kind": "vitok", **halves, **tree, **changes}).build()
    return made, torch.randn(2, tokens, 3)


@pytest.mark.parametrize(("codes", "tokens"), [(None, 4), (5, 5)])
def test_a_shorter_clip_takes_the_beginning_of_the_decoder_s_table(codes, tokens):
    made, z = tables(tokens, codes=codes)
    whole = made.decoder_table.data
    assert whole.shape == (1, 8, 12)
    clips = made.clips_of(z, (1, 2, 2))
    assert clips.shape == (2, 3, 2, 8, 8)
    made.decoder_table.data = whole[:, :4]
    assert torch.equal(clips, made.clips_of(z, (1, 2, 2)))


def test_the_leak_of_a_block_is_an_option():
    block, x = StyleBlock(2, 3, leak=1.0), torch.randn(1, 2, 8, 8)
    # Without a kink the block is affine.
    torch.testing.assert_close(block(-x) + block(x), 2 * block(0 * x), atol=1e-5, rtol=1e-4)
    bent = StyleBlock(2, 3)
    bent.load_state_dict(block.state_dict())
    assert (bent(-x) + bent(x) - 2 * bent(0 * x)).abs().max() > 1e-2


@pytest.mark.parametrize(
    ("size", "millions"), [(64, 25.18), (128, 26.09), (256, 26.32), (512, 26.38)]
)
def test_the_discriminator_has_as_many_parameters_as_the_release_s(size, millions):
    with torch.device("meta"):
        made = StyleDiscriminator(size)
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
