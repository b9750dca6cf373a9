"""The model card: what a model is, what it was trained on, how good it is, and how to use it."""

import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mezzotint import __version__, config


class Product(Protocol):
    """What can be written and looked at: a generator, a classifier or a tokenizer."""

    @property
    def tree(self) -> Mapping[str, Any]:
        """The config tree."""
        ...

    def save(self, folder: Path | str, *, dtype: torch.dtype | None = None) -> None:
        """Write a model folder."""

    def cost(self) -> dict[str, int]:
        """Return parameters, and multiply-adds of one network evaluation of one image."""
        ...

    def measured(self) -> Self:
        """Return itself with what it was measured at in its tree, if that can be told here."""
        ...

    def sheet(self) -> Image.Image | None:
        """Draw what it makes, or return None if it makes no pictures."""
        ...


def cost(network: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return the parameters of a network, and the multiply-adds of one evaluation.

    Multiply-adds are half of what PyTorch's FLOP counter says: linear layers, convolutions and
    attention products; not norms, activations or embeddings.
    """
    # The counter does not know the fused attention of CPUs; spelt out, its products are counted.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        network(*inputs)
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }


def model_card(name: str, tree: Mapping[str, Any], picture: str = "") -> str:
    """Return the card of a model as Markdown, from its config tree alone.

    Args:
        name: of the model or run.
        tree: the stored config tree, plain data; sections follow from what it holds.
        picture: file beside the card that shows samples.
    """
    made = tree.get("provenance", {})
    draws, coded = "sampling" in tree, "classes" not in tree
    task = "class-conditional-image-generation" if draws else "image-classification"
    head = {"library_name": "mezzotint", "tags": ["image-tokenizer" if coded else task]}
    lines = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        *(_tokenizing(name, tree) if coded else _about(tree)),
        *([f"![{_CODED if coded else _DRAWN}]({picture})"] if picture else []),
        *(_sampling(name, tree["sampling"]) if draws else []),
        *(_judging(name) if not draws and not coded else []),
        *(_held_out(tree, coded=coded) if "held_out" in tree else []),
        "## Where it comes from",
        f"```yaml\n{yaml.safe_dump(made, sort_keys=False, allow_unicode=True)}```",
    ]
    return "\n\n".join(lines) + "\n"


def _about(tree: Mapping[str, Any]) -> Iterator[str]:
    classes, model = tree["classes"], tree["model"]
    kind = " and a ".join(each["network"]["kind"] for each in model.get("models", [model]))
    what = kind if "sampling" in tree else f"{kind} classifier"
    tokenizer = tree["tokenizer"]
    on = f"latents of {tokenizer['source']}" if tokenizer.get("source") else tokenizer["kind"]
    yield (
        f"A {what} on {on}, {len(classes) or 'no'} classes. {_training(tree.get('provenance', {}))}"
    )
    yield f"Classes: {', '.join(classes) or 'none'}."


def _tokenizing(name: str, tree: Mapping[str, Any]) -> Iterator[str]:
    """Tell what a tokenizer makes of an image, how it was trained, and how a recipe names it."""
    model = tree["model"]
    network = config.load("network", model["network"])
    channels, rows, columns = network.latent(model["size"])
    size, count = model["size"], rows * columns
    codes = network.vocabulary
    frames = getattr(network, "frames", 1)
    given = "an image" if frames == 1 else f"a clip of {frames} frames"
    what = (
        f"{count} tokens ({rows} x {columns}), each one of {codes:,} codes"
        if codes
        else f"{channels} x {rows} x {columns} numbers (E = {channels * count:,}), less "
        f"{model['shift']:g} and multiplied by {model['scale']:g} for a generator"
    )
    yield (
        f"A {model['network']['kind']} tokenizer: {given} of {size} px becomes {what}. "
        f"{_training(tree.get('provenance', {}))} In a recipe:"
    )
    yield f"```yaml\ntokenizer: {{kind: stored, source: {name}}}\n```"


_DRAWN = "Samples: a row a class, a column a seed"
_CODED = "Held-out images, each row of them over what came back"


def _sampling(name: str, sampling: Mapping[str, Any]) -> Iterator[str]:
    yield f"```\nmezzotint sample {name}\n```"
    yield "## Sampling recipe"
    yield f"```yaml\n{yaml.safe_dump(sampling, sort_keys=False)}```"


def _judging(name: str) -> Iterator[str]:
    yield f'```python\nfrom mezzotint import classifier\n\nmodel = classifier.load("{name}")\n```'
    yield (
        "`model(images)` are the logits of uint8 images; `model.features(images)`, the means of "
        "the last map, are the space of a Fréchet distance between sets of images. That distance "
        "compares with no number taken in another space, and it is not FID. What judges samples "
        "must not have steered or trained what made them."
    )


def _held_out(tree: Mapping[str, Any], *, coded: bool) -> Iterator[str]:
    """Tell how a model does on images that it was not trained on, class by class."""
    yield "## On held-out images"
    found = tree["held_out"]
    yield from _restoring(found) if coded else _naming(found, tree["classes"])


def _restoring(found: Mapping[str, Any]) -> Iterator[str]:
    """Tell how well images come back from a tokenizer."""
    ssim = f", SSIM {found['ssim']:.3f}" if "ssim" in found else ""
    used = (
        f" They use {found['codes_used']:,} codes, as if {found['codes_perplexity']:,.0f} were "
        "used equally often."
        if "codes_used" in found
        else ""
    )
    yield (
        f"Measured on these weights: PSNR {found['psnr']:.2f} dB{ssim}, means over "
        f"{found['images']:,} images, nothing being drawn on the way.{used}"
    )
    rows = [["class", "PSNR, dB"], [":--", "--:"]]
    rows += [[name, f"{psnr:.2f}"] for name, psnr in found["psnr_by_class"].items()]
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _naming(found: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    """Tell which classes a classifier takes images of each class for."""
    yield (
        f"Measured on these weights: {found['accuracy']:.1%} of {found['images']:,} images are "
        f"named right; {found['mean_accuracy']:.1%} as the mean over the classes. The network has "
        f"{found['parameters']:,} parameters and takes {found['multiply_adds'] / 1e6:.1f} M "
        "multiply-adds a view. There is no third part of the data: whatever was chosen by looking "
        "at results was chosen on these same images, so take a point or two off."
    )
    yield "A row is what the images show, a column what they were taken for."
    rows = [["", *classes, "images", "right"], [":--", *["--:"] * (len(classes) + 2)]]
    for label, counts in zip(classes, found["confusion"], strict=True):
        share = counts[classes.index(label)] / max(1, sum(counts))
        cells = [str(count or "") for count in counts]
        rows.append([f"**{label}**", *cells, str(sum(counts)), f"{share:.1%}"])
    yield "\n".join(f"| {' | '.join(row)} |" for row in rows)
    few = [c for c, n in zip(classes, found["confusion"], strict=True) if sum(n) < _FEW]
    if few:
        yield (
            f"Limits: fewer than {_FEW} held-out images show {', '.join(few)}, often the same few "
            "things in several styles, so the shares of these classes are rough."
        )


_FEW = 25


def _training(made: Mapping[str, Any]) -> str:
    """Say how a model was trained, as far as its checkpoint tells."""
    if "members" in made:
        each = " ".join(f"({k}) {_training(m)}" for k, m in enumerate(made["members"], 1))
        return f"The mean of {len(made['members'])} networks. {each}"
    if not {"seen", "data_images", "seconds", "ema"} <= made.keys():
        return "How it was trained is not recorded."
    began = "".join(f", {said}" for said in (made.get("inherited") or ())[:1])
    return (
        f"Trained on {made['seen']:,} images drawn from {made['data_images']:,}, in "
        f"{made['seconds'] / 3600:.2f} h{began}. "
        f"The weights are the average with decay {made['ema']}."
    )


def environment() -> dict[str, Any]:
    """Return what a run is made with: versions, machine, command, time."""
    return {
        "mezzotint": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
