"""The table of docs/performance.md on attention: PyTorch's fused kernel against its formula.

python benchmarks/attention.py --write
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pages import markdown, put
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
SHAPES = ((32, 6, 64, 32), (32, 3, 256, 64), (8, 6, 1024, 64))
"""Images, heads, tokens, width of a head: those of emoji-dit first."""
ROUNDS = 6
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]


def formula(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return softmax(q k^T / sqrt(d)) v."""
    weights = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)
    return weights.softmax(3, dtype=torch.float32).to(v.dtype) @ v


def seconds(kernel: Kernel, shape: tuple[int, ...], dtype: torch.dtype) -> tuple[float, float]:
    """Return CPU seconds of one pass forward and one backward."""
    q, k, v = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))
    start = time.process_time()
    out = kernel(q, k, v)
    there = time.process_time()
    out.sum().backward()
    return there - start, time.process_time() - there


def main() -> None:
    """Measure in turn, the best of several rounds, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into docs/")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    kernels = {"fused": scaled_dot_product_attention, "formula": formula}
    rows = [
        ["dtype", "images, heads, tokens, width", *(f"{n}: ms forward, backward" for n in kernels)]
    ]
    for dtype in (torch.float32, torch.bfloat16):
        for shape in SHAPES:
            turns = [
                {n: seconds(f, shape, dtype) for n, f in kernels.items()} for _ in range(ROUNDS)
            ]
            best = {n: [min(turn[n][way] for turn in turns[1:]) for way in (0, 1)] for n in kernels}
            cells = (f"{1e3 * there:.1f}, {1e3 * back:.1f}" for there, back in best.values())
            rows.append([str(dtype).removeprefix("torch."), str(shape), *cells])
    table = markdown(rows)
    print(table)
    if asked.write:
        put(PAGE, "attention", table)


if __name__ == "__main__":
    main()
