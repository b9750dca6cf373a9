"""A depth-wise convolution is exact on a CPU, whatever the autocast."""

import torch
from torch.nn import functional

from mezzotint.nn.attention import HeadConvolution
from mezzotint.nn.conv import Depthwise
from mezzotint.noise import SeededNoise


def test_under_autocast_it_is_float32_s_on_a_cpu():
    layer = Depthwise(6, 5)
    x = SeededNoise([0, 1])(torch.empty(2, 6, 9, 7))
    wanted = functional.conv2d(x, layer.weight, layer.bias, padding=2, groups=6)
    assert torch.equal(layer(x), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), wanted)
        half = layer(x.bfloat16())
    exact = functional.conv2d(x.bfloat16().float(), layer.weight, layer.bias, padding=2, groups=6)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.bfloat16())


def test_heads_share_it_in_bfloat16_too():
    layer = HeadConvolution(3, shape=(4, 5), kernel=5)
    tokens = SeededNoise([0, 1])(torch.empty(2, 20, 6)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        both = layer(tokens)
        first, second = layer(tokens[..., :3]), layer(tokens[..., 3:])
    assert torch.equal(both, torch.cat([first, second], 2))
