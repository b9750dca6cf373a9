"""One sentence on a tokenizer: from PSNR, and a distance over its floor."""

import pytest
import torch

from mezzotint.data.images import InMemory
from mezzotint.evaluation.page import Pictures
from mezzotint.evaluation.paired import PSNR
from mezzotint.evaluation.reconstruction import judged, with_pairs
from mezzotint.evaluation.record import ClassScore, Protocol, Score
from mezzotint.evaluation.report import Report


def report(psnr, distance=None, floor=None, classes=()):
    scores = [Score("PSNR", psnr)]
    if distance is not None:
        count = None if floor is None else 10
        scores.append(Score("rFD-x", distance, floor=floor, floor_count=count))
    return judged(Report(title="t", protocol=Protocol(), scores=tuple(scores), classes=classes))


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((30.0, 1.0, 2.0), "fits these images: PSNR is 30"),
        ((30.0,), "fits these images: PSNR is 30"),
        ((float("nan"), 0.0, 2.0), "fits these images: every image comes back as it was"),
        ((30.0, 4.0, 2.0), "fits these images with visible losses: PSNR is 30"),
        ((24.0, 1.0, 2.0), "fits these images with visible losses: PSNR is 24"),
        ((30.0, 7.0, 2.0), "does not fit these images: PSNR is 30"),
        ((18.0, 1.0, 2.0), "does not fit these images: PSNR is 18"),
    ],
)
def test_a_sentence_says_whether_it_fits(numbers, words):
    said = report(*numbers).verdict
    assert said.startswith(f"This tokenizer {words}")
    assert said.endswith(".")
    assert said.count(". ") == 0


def test_the_weakest_class_is_named_where_it_stands_out():
    rows = (ClassScore("flag", 3, psnr=27.5), ClassScore("face", 3, psnr=31.0))
    assert "worst is flag with 27.5" in report(30.0, classes=rows).verdict
    assert "worst is" not in report(29.0, classes=rows).verdict
    assert "times that of real images" not in report(30.0, 4.0).verdict
    assert "2.0 times that of real images" in report(30.0, 4.0, 2.0).verdict


def test_classes_get_their_mean_without_images_that_are_equal():
    pixels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8)
    originals = InMemory.of(pixels, torch.tensor([0, 0, 1, 1]), ("a", "b"))
    noisy = pixels.clone()
    noisy[0] += 5
    images = InMemory.of(noisy, originals.labels, originals.classes)
    plain = Report(title="t", protocol=Protocol(), scores=(), classes=(ClassScore("a", 2),))
    found, pictures = with_pairs(plain, Pictures(), images, originals, [PSNR()])
    by_name = {row.name: row.psnr for row in found.classes}
    assert by_name["a"] == pytest.approx(float(20 * torch.tensor(255 / 5.0).log10()), abs=1e-4)
    assert by_name["b"] is None
    assert len(pictures.worst) == 4
