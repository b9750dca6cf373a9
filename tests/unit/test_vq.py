"""Vector quantisation against closed forms, and tokens between images and a generator."""

import pytest
import torch

from mezzotint import config, stored
from mezzotint.errors import ConfigError, DataError
from mezzotint.noise import SeededNoise
from mezzotint.recipe import resolve
from mezzotint.tokenizers.maskgit_vq import BranchBlock
from mezzotint.tokenizers.vq import Codebook
from tests.tokenizers import VQ, tiny_vq


def codebook(*codes, spherical=False):
    made = Codebook(len(codes), len(codes[0]), spherical=spherical)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(codes))
    return made


def column(*features):
    return torch.tensor(features).T[None, :, :, None]


def test_the_nearest_code_is_taken_and_the_first_of_equal_ones():
    book = codebook([0.0, 0.0], [4.0, 0.0], [0.0, 4.0])
    features = column([1.0, 0.9], [3.0, 0.0], [2.0, 0.0], [0.0, 9.0])
    assert book.nearest(features).flatten().tolist() == [0, 1, 0, 2]
    distances = book.distances(features)[0, :, 0]
    assert distances[1].tolist() == [9.0, 1.0, 25.0]


def test_on_the_sphere_only_directions_count():
    book = codebook([0.0, 5.0], [0.1, 0.0], spherical=True)
    made = book(column([100.0, 1.0], [1.0, 3.0]))
    assert made.indices.flatten().tolist() == [1, 0]
    assert made.codes[0, :, :, 0].T.tolist() == [[1.0, 0.0], [0.0, 1.0]]
    assert torch.allclose(made.features.norm(dim=1), torch.ones(1, 2, 1))


def test_gradients_pass_through_the_codes():
    book = codebook([0.0, 0.0], [4.0, 0.0])
    features = column([1.0, 2.0]).requires_grad_()
    made = book(features)
    assert torch.equal(made.through, made.codes)
    made.through.sum().backward()
    assert torch.equal(features.grad, torch.ones_like(features))
    assert book.weight.grad is None
    assert made.commitment().tolist() == made.codebook().tolist() == [2.5]
    made.codebook().sum().backward()
    assert book.weight.grad.tolist() == [[-1.0, -2.0], [0.0, 0.0]]


def test_the_shortcut_of_another_width_does_not_see_the_input():
    """maskgit.md, 2.2: out = f(x) + W f(x)."""
    block = BranchBlock(32, 64).eval()
    with torch.no_grad():
        block.conv2.weight.zero_()
        assert not block(torch.randn(1, 32, 4, 4)).any()
        same = BranchBlock(32, 32)
        same.conv2.weight.zero_()
        x = torch.randn(1, 32, 4, 4)
        assert torch.equal(same(x), x)


@pytest.mark.parametrize("kind", ["vq", "maskgit-vq"])
def test_tokens_are_rows_of_one_sequence(kind):
    tokenizer = stored.load(tiny_vq(kind))
    spec = tokenizer.spec
    assert (spec.shape, spec.vocabulary, spec.length) == ((1, 4, 4), VQ["codes"], 16)
    images = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    codes = tokenizer.encode(images)
    tokens = tokenizer.latents(codes, SeededNoise(range(3)))
    assert (codes.shape, tokens.shape, tokens.dtype) == ((3, 4, 4), (3, 16), torch.int64)
    decoded = tokenizer.decode(tokens)
    assert torch.equal(decoded, tokenizer.decode(codes))
    alone = torch.cat([tokenizer.decode(row[None]) for row in tokens])
    assert (alone.int() - decoded.int()).abs().max() <= 1
    assert tokenizer.decode(tokens[:0]).shape == (0, 3, 8, 8)
    wide = tokenizer.encode(images[..., :6])
    assert wide.shape == (3, 4, 3)
    assert tokenizer.decode(wide).shape == (3, 3, 8, 6)


def test_tokens_that_cannot_be_are_refused():
    tokenizer = stored.load(tiny_vq())
    with pytest.raises(DataError, match="tokens from 0 to 16: expected 0 to 15"):
        tokenizer.decode(torch.tensor([[0, 16, 1, 2]]))
    with pytest.raises(DataError, match="3 tokens are not of a square image"):
        tokenizer.decode(torch.tensor([[0, 1, 2]]))
    tree = {"kind": "tokenizer", "network": {"kind": "vq", **VQ}, "size": 8, "scale": 2.0}
    with pytest.raises(ConfigError, match="tokens are not scaled"):
        config.load("model", tree)


def test_a_denoiser_is_not_trained_on_tokens():
    tree = {
        "model": {"kind": "diffusion", "network": {"kind": "dit", "width": 16, "depth": 1}},
        "tokenizer": {"kind": "stored", "source": str(tiny_vq())},
        "data": {"kind": "digits"},
        "train": {"steps": 1},
    }
    tree["model"]["network"] |= {"heads": 2, "patch": 2}
    recipe = resolve(tree)
    with pytest.raises(ConfigError, match="it gives tokens, of 16 values") as caught:
        recipe.objective(recipe.model.network.build(), torch.device("cpu"))
    assert "\n" not in str(caught.value)
