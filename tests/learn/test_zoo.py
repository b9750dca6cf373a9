"""Every generator of the zoo draws what it is asked for: the judge of its data knows the class."""

import pytest
import torch
from torch.nn import functional

from mezzotint import checkpoint, classifier, load

GENERATORS = sorted(checkpoint.zoo("diffusion") | checkpoint.zoo("masked"))
EACH = 2
SHARE = 0.6
"""Of images whose class the judge names; the worst has .71."""


@pytest.mark.parametrize("name", GENERATORS)
def test_what_is_drawn_is_what_was_asked_for(name):
    made = load(name).to("cpu", autocast=torch.bfloat16)  # for speed
    labels = [k for k in range(max(1, len(made.classes))) for _ in range(EACH)]
    images = torch.cat(list(made.stream(labels, range(len(labels)))))
    assert len({image.numpy().tobytes() for image in images}) == len(labels)
    if made.classes:  # a model without them draws what it likes
        judge = classifier.load(f"{name.partition('-')[0]}-judge")
        read = functional.avg_pool2d(images.float(), images.shape[-1] // judge.size)
        seen = judge(read.round().to(torch.uint8)).argmax(1)
        asked = torch.tensor([judge.classes.index(made.classes[k]) for k in labels])
        found = float((seen == asked).float().mean())
        print(name, found)
        assert found >= SHARE
