"""DESIGN 4.7, law 15: what a tokenizer decodes from its codes is the image, within tolerance."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mezzotint import config, kinds
from mezzotint.noise import SeededNoise
from tests.tokenizers import STRIDE, tiny_kl

# In levels of 255. The stored one has weights that nobody has trained: it need not be alike at all.
TOLERANCES = {"pixels": 0, "stored": 255}
UNITS = {"pixels": 1, "stored": 8}  # beyond this no latent is of about unit size
SETTINGS = {"pixels": {}, "stored": {"source": str(tiny_kl())}}
STEPS = {"pixels": 1, "stored": 2 * STRIDE}  # sizes are multiples of these
SIZES = st.integers(1, 5)


def test_every_tokenizer_has_a_tolerance():
    assert sorted(TOLERANCES) == kinds.names("tokenizer")
    assert sorted(SETTINGS) == kinds.names("tokenizer")


@pytest.mark.parametrize("kind", TOLERANCES)
@given(size=SIZES, batch=st.integers(1, 3), seed=st.integers(0, 2**31))
def test_law_15_decoding_the_codes_of_an_image_gives_the_image(kind, size, batch, seed):
    tree = {"kind": kind, "size": STEPS[kind] * size, **SETTINGS[kind]}
    tokenizer = config.load("tokenizer", tree).build()
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, *tokenizer.spec.image)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    latents = tokenizer.latents(tokenizer.encode(images), SeededNoise(range(batch)))
    assert latents.shape == (batch, *tokenizer.spec.shape)
    assert latents.dtype == torch.float32
    assert latents.abs().max() <= UNITS[kind]
    decoded = tokenizer.decode(latents)
    assert (decoded.shape, decoded.dtype) == (images.shape, torch.uint8)
    difference = decoded.int() - images.int()
    assert difference.abs().max() <= TOLERANCES[kind]


def test_pixels_beyond_the_range_are_clamped():
    tokenizer = config.load("tokenizer", {"kind": "pixels", "size": 1}).build()
    extremes = torch.tensor([-7.0, 7.0]).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    assert tokenizer.decode(extremes).flatten(1).tolist() == [[0] * 3, [255] * 3]


def test_fingerprints_tell_sizes_apart():
    prints = {
        config.load("tokenizer", {"kind": "pixels", "size": size}).spec.fingerprint
        for size in (8, 16, 32)
    }
    assert len(prints) == 3
