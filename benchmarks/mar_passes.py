"""Full and light passes of MAR at a published size: multiply-adds, their prediction, CPU time.

    OMP_NUM_THREADS=1 python benchmarks/mar_passes.py --size B --batch 1

The moment is three quarters through a run: at stage 48 of 64, 159 tokens are known, and a group of
two stages reveals 5 and 6 more. Weights are random; times are process times of passes in turn,
medians of the rounds, and shares medians of the rounds' ratios.
"""

import argparse
import json
import statistics
from collections.abc import Callable

import torch
from costs import counted, in_turn, share

from mezzotint.masked.plan import Masked
from mezzotint.networks.mar import MAR, MARConfig
from mezzotint.networks.mar_slots import KeptSlots

STAGES, STAGE = 64, 48


def predicted(config: MARConfig, entering: int, known: int, asked: int, total: int) -> int:
    """Return the multiply-adds of a pass by the formula of the specification.

    Args:
        config: the shape.
        entering: queries of the encoder.
        known: keys of the encoder.
        asked: queries of the decoder.
        total: keys of the decoder.
    """

    def stack(width: int, depth: int, queries: int, keys: int) -> int:
        return depth * (12 * width**2 * queries + 2 * queries * keys * width)

    (width, depth, _), (narrow, layers, _) = config.encoder, config.decoder
    between = width * narrow * entering
    return stack(width, depth, entering, known) + between + stack(narrow, layers, asked, total)


@torch.inference_mode()
def measured(size: str, batch: int, rounds: int) -> list[dict[str, object]]:
    """Return a row for the full pass, the light one, and the light one that keeps the slots."""
    shape = {"channels": 16, "size": (16, 16), "num_classes": 1000}
    config = MARConfig(**shape, **MARConfig.PRESETS[size])  # type: ignore[arg-type]
    model = MAR(config).eval()
    counts = Masked()(model.length, STAGES)
    known, first, second = sum(counts[:STAGE]), counts[STAGE], counts[STAGE + 1]
    order = torch.rand(batch, model.length).argsort(1)
    where = order[:, known : known + first + second]
    masked = torch.ones(batch, model.length, dtype=torch.bool).scatter(
        1, order[:, :known], value=False
    )
    now = masked.scatter(1, where[:, :first], value=False)
    tokens, y = torch.randn(batch, model.length, config.values), torch.zeros(batch).long()
    _, context = model.prefill(tokens, masked, y)
    kept, slots, group = KeptSlots(model), config.buffer, first + second
    entering = slots + first
    passes: dict[str, tuple[Callable[[], object], int]] = {
        "full": (
            lambda: model.prefill(tokens, masked, y),
            predicted(config, slots + known, slots + known, slots + 256, slots + 256),
        ),
        "light": (
            lambda: model.extend(tokens, now, where, context, y),
            predicted(config, entering, entering + known, slots + group, slots + 256),
        ),
        "light, slots kept": (
            lambda: kept.extend(tokens, now, where, context, y),
            predicted(config, first, entering + known, group, slots + 256),
        ),
    }
    works = [work for work, _ in passes.values()]
    macs = [counted(work) // batch for work in works]
    times = in_turn(works, rounds)
    first = next(iter(passes.values()))[1]
    return [
        {
            "pass": name,
            "macs": found,
            "predicted": wanted,
            "cpu_seconds": statistics.median(seconds) / batch,
            "macs_share": round(found / macs[0], 4),
            "predicted_share": round(wanted / first, 4),
            "cpu_seconds_share": round(share(seconds, times[0]), 4),
        }
        for (name, (_, wanted)), found, seconds in zip(passes.items(), macs, times, strict=True)
    ]


def main() -> None:
    """Measure, and print a row a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=tuple(MARConfig.PRESETS), default="B")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for row in measured(given.size, given.batch, given.rounds):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
