"""PSNR, SSIM and LPIPS: equal to torchmetrics image by image, whatever stands beside an image."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision import models

from mezzotint.checkpoint import read_pickle
from mezzotint.errors import CheckpointError, DataError
from mezzotint.evaluation.lpips import ALEX, VGG, load_lpips
from mezzotint.evaluation.paired import PSNR, SSIM, PairedScores


def images(count, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    smooth = torch.rand(count, 3, size // 4, size // 4, generator=generator)
    smooth = torch.nn.functional.interpolate(smooth, size, mode="bilinear")
    return (smooth * 255).to(torch.uint8)


def noisy(originals, strength, seed=1):
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(originals.shape, generator=generator) * strength
    return (originals + noise).round().clamp(0, 255).to(torch.uint8)


def test_psnr_is_the_closed_form_and_torchmetrics():
    black = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    changed = black.clone()
    changed[0] += 255
    changed[1, 0, 0, 0] = 16
    expected = [0, 10 * math.log10(255**2 * 3 * 64 / 256), math.inf]
    assert PSNR()(changed, black).tolist() == pytest.approx(expected, rel=1e-12)
    functional = pytest.importorskip("torchmetrics.functional.image")
    x, y = noisy(images(4), 9), images(4)
    theirs = functional.peak_signal_noise_ratio(
        x.double(), y.double(), data_range=255.0, reduction="none", dim=(1, 2, 3)
    )
    assert torch.allclose(PSNR()(x, y), theirs.double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("size", [12, 32])
def test_ssim_is_torchmetrics(size):
    functional = pytest.importorskip("torchmetrics.functional.image")
    y = images(4, size)
    y[3] = 200  # flat: the variance is 0
    x = noisy(y, 20)
    theirs = functional.structural_similarity_index_measure(
        x.double(), y.double(), data_range=255.0, reduction="none"
    )
    assert torch.allclose(SSIM()(x, y), theirs, rtol=1e-6, atol=0)
    assert SSIM()(y, y).tolist() == pytest.approx([1] * 4, rel=1e-9)


def test_ssim_of_flat_images_is_its_brightness_term():
    x, y = (torch.full((1, 3, 16, 16), grey, dtype=torch.uint8) for grey in (100, 150))
    c1 = (0.01 * 255) ** 2
    expected = (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1)
    assert SSIM()(x, y).item() == pytest.approx(expected, rel=1e-9)


def test_ssim_says_when_images_are_smaller_than_its_window():
    small = torch.zeros(1, 3, 10, 40, dtype=torch.uint8)
    with pytest.raises(DataError, match=r"^SSIM: images of 40 x 10 px, expected at least 11 x 11"):
        SSIM()(small, small)
    assert SSIM()(small[..., :11].repeat(1, 1, 2, 1), small[..., :11].repeat(1, 1, 2, 1)) == 1


def test_scores_are_gathered_by_image_whatever_the_batches():
    y = images(9)
    x = noisy(y, 5)
    x[4] = y[4]
    x[6] = noisy(y[6:7], 60)[0]
    x[1] = noisy(y[1:2], 30)[0]
    whole, parts = PairedScores([PSNR(), SSIM()]), PairedScores([PSNR(), SSIM()])
    whole.update(x, y)
    for a, b in zip(x.split(2), y.split(2), strict=True):
        parts.update(a, b)
    for name in ("PSNR", "SSIM"):
        assert torch.allclose(parts.values(name), whole.values(name), rtol=1e-12, atol=0)
    psnr, ssim = parts.summaries(worst=2)
    assert [row for row, _ in psnr.worst] == [6, 1] == [row for row, _ in ssim.worst]
    assert psnr.worst[0][1] == PSNR()(x[6:7], y[6:7]).item()
    finite = [value for row, value in enumerate(PSNR()(x, y).tolist()) if row != 4]
    assert psnr.mean == pytest.approx(sum(finite) / 8, rel=1e-12), "equal images are left out"
    assert (psnr.infinite, psnr.count, psnr.unit) == (1, 9, "dB")
    assert (ssim.infinite, ssim.mean) == (0, pytest.approx(SSIM()(x, y).mean().item()))


@dataclass(frozen=True)
class Brightness:
    name: str = "brightness"
    unit: str = ""
    higher_is_better: bool = False

    def __call__(self, images, originals):
        return images.double().mean((1, 2, 3)) / originals[:, 0, 0, 0].double()


def test_the_worst_is_the_highest_where_lower_is_better_and_nan_is_not_hidden():
    scores = PairedScores([Brightness()])
    shades = torch.tensor([3, 9, 1], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 4, 4)
    scores.update(shades, torch.ones_like(shades))
    assert scores.summaries()[0].worst == ((1, 9.0), (0, 3.0), (2, 1.0))
    scores.update(shades[:1] * 0, shades[:1] * 0)
    assert math.isnan(scores.summaries()[0].mean)


def test_pairs_that_are_none_are_one_line():
    scores = PairedScores([PSNR()])
    with pytest.raises(DataError, match=r"shape \(2, 3, 32, 32\), originals of \(1, 3, 32, 32\)"):
        scores.update(images(2), images(1))
    with pytest.raises(DataError, match="PSNR: no pairs of images"):
        scores.summaries()
    scores.update(images(1), images(1))
    assert math.isnan(scores.summaries()[0].mean), "every value is infinite"


# LPIPS ---------------------------------------------------------------------------------------


def _heads(name):
    package = pytest.importorskip("torchmetrics")
    return Path(package.__file__).parent / f"functional/image/lpips_models/{name}.pth"


def _features(backbone):
    """Build the layers with random weights that keep the size of activations."""
    with torch.device("meta"):  # the classifiers' heads alone hold 120 million numbers
        layers = backbone.build().features
    layers = layers.to_empty(device="cpu")
    for layer in layers:
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            torch.nn.init.normal_(layer.bias, std=1e-3)
    return layers


@pytest.fixture(scope="module", params=[ALEX, VGG], ids=lambda backbone: backbone.name)
def pair(request, tmp_path_factory):
    """Our LPIPS and torchmetrics', with the same random backbone and the fitted heads."""
    lpips = pytest.importorskip("torchmetrics.functional.image.lpips")
    torch.manual_seed(0)
    layers = _features(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lpips, "_get_tv_model_features", lambda net, pretrained: layers)
        theirs = lpips._LPIPS(net=request.param.name).eval()
    path = tmp_path_factory.mktemp("weights") / "backbone.pth"
    tensors = {f"features.{name}": each for name, each in layers.state_dict().items()}
    torch.save(tensors | {"classifier.1.bias": torch.zeros(2)}, path)
    heads = _heads(request.param.name)
    return load_lpips(request.param, weights=path, heads=heads, unverified=True), theirs


def test_lpips_is_torchmetrics(pair):
    ours, theirs = pair
    y = images(2, 48)
    y[1] = torch.tensor([124, 116, 104])[:, None, None]  # ImageNet's mean: layers are near silent
    x = noisy(y, 25)
    x[1] = noisy(y[1], 1)
    expected = theirs(x / 255, y / 255, normalize=True).flatten().detach().double()
    assert (expected > 1e-3).all()
    assert torch.allclose(ours(x, y), expected, rtol=1e-5, atol=0)
    assert not ours(y, y).any()
    assert torch.allclose(ours(x[1:2], y[1:2]), ours(x, y)[1:2], rtol=1e-5, atol=0)


def test_lpips_has_a_gradient_for_training(pair):
    ours, _ = pair
    generator = torch.Generator().manual_seed(5)
    images, originals = torch.randint(0, 256, (2, 2, 3, 64, 64), generator=generator).byte()
    moved = images.float().requires_grad_()
    found = ours.distance(moved, originals.float())
    torch.testing.assert_close(found.detach().double(), ours(images, originals), rtol=1e-4, atol=0)
    found.sum().backward()
    assert moved.grad.abs().sum() > 0


def test_lpips_is_a_paired_metric(pair):
    ours, _ = pair
    y = images(3, 32)
    x = noisy(y, 5)
    x[1] = noisy(y[1:2], 80)[0]
    scores = PairedScores([ours])
    scores.update(x, y)
    (summary,) = scores.summaries(worst=1)
    assert summary.name == f"LPIPS-{ours.backbone.name}"
    assert summary.worst[0][0] == 1


def test_lpips_says_when_images_are_too_small(pair):
    ours, _ = pair
    least = ours.backbone.smallest
    small = torch.zeros(1, 3, least, least, dtype=torch.uint8)
    assert ours(small, small + 9).isfinite()
    with pytest.raises(DataError, match=f"expected at least {least} x {least}"):
        ours(small[..., 1:], small[..., 1:])


def test_the_backbones_are_what_torchvision_builds():
    for backbone, build in ((ALEX, models.alexnet), (VGG, models.vgg16)):
        with torch.device("meta"):
            layers = build().features
        kinds = [type(layers[place]).__name__ for place in backbone.taps]
        assert kinds == ["ReLU"] * 5
        widths = [layers[place - 1].out_channels for place in backbone.taps]
        assert tuple(widths) == backbone.widths


def _alexnet(**changes):
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in models.alexnet().features.state_dict().items()}
    return {f"features.{k}": torch.zeros(shape) for k, shape in shapes.items()} | changes


def test_weights_are_read_from_safetensors_and_from_torchvisions_downloads(tmp_path, monkeypatch):
    pytest.importorskip("torchmetrics")  # its heads are found without being named
    tensors = _alexnet(**{"features.0.bias": torch.arange(64.0)})
    save_file(tensors, tmp_path / "alex.safetensors")
    stored = load_lpips(ALEX, weights=tmp_path / "alex.safetensors", unverified=True)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    downloaded = tmp_path / "checkpoints" / ALEX.weights.file
    torch.save(tensors, downloaded)
    state = torch.get_rng_state()
    found = load_lpips(ALEX, unverified=True)
    assert torch.equal(torch.get_rng_state(), state), "loading draws no random numbers"
    for layers in (stored.layers, found.layers):
        assert torch.equal(layers[0].bias, torch.arange(64.0))
        assert not any(p.requires_grad for p in layers.parameters())
    torch.save(_alexnet(), downloaded)
    assert load_lpips(ALEX, unverified=True).digest != found.digest
    heads = {name: each * 2 for name, each in read_pickle(_heads("alex")).items()}
    torch.save(heads, tmp_path / "heads.pth")
    doubled = load_lpips(ALEX, heads=tmp_path / "heads.pth", unverified=True)
    assert doubled.digest != load_lpips(ALEX, unverified=True).digest
    with pytest.raises(CheckpointError, match=r"sha256 is .* expected 7be5be79; get alexnet-owt"):
        load_lpips(ALEX)


def test_missing_and_foreign_weights_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(CheckpointError) as missing:
        load_lpips(VGG)
    assert str(missing.value) == (
        f"{tmp_path}/checkpoints/vgg16-397923af.pth: no such file; pass weights=a path, "
        "package:NAME/FILE, or hf://OWNER/NAME/FILE; get vgg16-397923af.pth from "
        "https://download.pytorch.org/models/vgg16-397923af.pth"
    )
    path = tmp_path / "backbone.pth"
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, path)
    with pytest.raises(CheckpointError, match=r"missing: 0\.bias, 10\.bias"):
        load_lpips(ALEX, weights=path, unverified=True)
    torch.save(_alexnet(), path)
    with pytest.raises(CheckpointError, match=r"not the LPIPS v0\.1 heads of alex; expected lin0"):
        load_lpips(ALEX, weights=path, heads=_heads("vgg"), unverified=True)
    with pytest.raises(CheckpointError, match=r"nowhere\.pth: no LPIPS heads there; pip install"):
        load_lpips(ALEX, weights=path, heads=tmp_path / "nowhere.pth", unverified=True)
    torch.save(
        read_pickle(_heads("alex")) | {"lin5.model.1.weight": torch.zeros(1)}, tmp_path / "h"
    )
    with pytest.raises(CheckpointError, match="not the LPIPS"):
        load_lpips(ALEX, weights=path, heads=tmp_path / "h", unverified=True)
    monkeypatch.setattr("mezzotint.evaluation.lpips.HEADS", ("no-such-package/heads",))
    with pytest.raises(
        CheckpointError, match=r"^package:no-such-package/heads/alex\.pth: no LPIPS"
    ):
        load_lpips(ALEX, weights=path, unverified=True)


def test_a_file_that_could_run_code_is_refused(tmp_path):
    torch.save({"features.0.weight": Brightness()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="refused"):
        load_lpips(ALEX, weights=tmp_path / "a.pth", unverified=True)
