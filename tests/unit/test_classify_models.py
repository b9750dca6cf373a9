"""The classifier over every backbone, guided and latent models, generators, and texts."""

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from mezzotint import config
from mezzotint.classify import DiffusionClassifier
from mezzotint.classify.labelling import Prompts
from mezzotint.classify.measures import Squared, noise, velocity
from mezzotint.classify.prompts import TEMPLATES, embedded, filled, unet_denoiser
from mezzotint.classify.schedules import Exhaustive, Race
from mezzotint.classify.times import Even, Quantiles
from mezzotint.diffusion.betas import ScaledLinearBetas
from mezzotint.diffusion.denoiser import Clamped, NetworkDenoiser
from mezzotint.diffusion.guidance import ClassifierFree
from mezzotint.diffusion.paths import DiscreteVP
from mezzotint.diffusion.routing import Partition, Stitched
from mezzotint.errors import ConfigError, DataError
from mezzotint.generator import DiffusionConfig, Generator, load
from mezzotint.noise import SeededNoise
from mezzotint.tokenizers.base import Pixels

SHAPE = {"channels": 3, "size": [8, 8], "num_classes": 3}
DIT = {"kind": "dit", "depth": 1, "width": 16, "heads": 2, "patch": 4}
NETWORKS: dict[str, tuple[dict[str, Any], Any]] = {
    "dit": (DIT, "eps"),
    "lit": (DIT | {"kind": "lit"}, "velocity"),
    "uvit": ({"kind": "uvit", "depth": 2, "width": 16, "heads": 2, "patch": 4}, "eps"),
    "dico": ({"kind": "dico", "width": 8, "depths": [1, 1, 1, 1, 1]}, "x0"),
    "dimr": (
        {
            "kind": "dimr",
            "branches": [
                {"kind": "transformer", "width": 16, "depth": 3, "heads": 2, "patch": 2},
                {"kind": "convolution", "width": 8, "depth": 3},
            ],
        },
        {"kind": "multi-scale", "inner": "eps"},
    ),
}


def shaken(module: nn.Module) -> nn.Module:
    """Return a module with random weights, so that it feels its class."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return module.eval().requires_grad_(requires_grad=False)


def model(kind: str, path: object = "discrete-vp") -> NetworkDenoiser:
    tree, prediction = NETWORKS[kind]
    network = config.load("network", {**tree, **SHAPE})
    built = config.build(
        DiffusionConfig, {"network": network, "path": path, "prediction": prediction}
    ).build()
    shaken(built)
    return built


def generator(path: object = "discrete-vp", tree: dict | None = None) -> Generator:
    names = ("cat", "dog", "red fox")
    return Generator(model("dit", path), Pixels(size=8), names, null=3, tree=tree or {})


def pictures(count: int) -> torch.Tensor:
    drawn = SeededNoise(range(count))(torch.empty(count, 3, 8, 8))
    return (drawn * 60 + 128).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("path", ["discrete-vp", "linear"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_any_backbone_classifies(kind, path):
    denoiser = model(kind, path)
    classifier = DiffusionClassifier(denoiser, schedule=Exhaustive(Even(4))).fit(None, range(3))
    x = SeededNoise(range(2))(torch.empty(2, 3, 8, 8))
    errors = classifier.evidence(x).errors
    assert errors.shape == (2, 3, 4)
    assert bool(errors.isfinite().all())
    assert float(errors.std(1).max()) > 0  # the class is felt


def test_denoisers_around_denoisers_classify():
    inner = model("dit")
    x = SeededNoise(range(2))(torch.empty(2, 3, 8, 8))
    stitched = Stitched((inner, model("uvit")), Partition((0.5,)))
    for denoiser in (ClassifierFree(inner, 2.0, null=3), Clamped(inner), stitched):
        classifier = DiffusionClassifier(denoiser, schedule=Exhaustive(Even(4)))
        assert classifier.fit(None, range(3)).predict(x).shape == (2,)


def test_a_generator_classifies_by_name():
    classifier = generator().as_classifier(schedule=Exhaustive(Even(4)))
    assert classifier.classes_.tolist() == ["cat", "dog", "red fox"]
    found = classifier.predict(pictures(2))
    assert set(found.tolist()) <= {"cat", "dog", "red fox"}
    two = generator().as_classifier(["red fox", 0], schedule=Exhaustive(Even(4)))
    assert two.classes_.tolist() == ["cat", "red fox"]
    # The same errors, whoever else competes.
    errors = classifier.evidence(pictures(2)).errors
    torch.testing.assert_close(two.evidence(pictures(2)).errors, errors[:, [0, 2]])


def test_a_generator_is_looked_at_as_it_was_trained():
    times = {"kind": "logit-normal", "mean": 0.8, "deviation": 0.8}
    tree = {"provenance": {"recipe": {"train": {"times": times}}}}
    flow, chain = generator("linear", tree).as_classifier(), generator().as_classifier()
    assert flow.measure == Squared(velocity)
    assert chain.measure == Squared(noise)
    assert isinstance(flow.schedule, Race)
    assert isinstance(flow.schedule.times, Quantiles)
    assert flow.schedule.times.of == config.load("times", times)
    assert chain.schedule == Race(Even(250))


def test_latents_are_the_mean_of_what_a_tokenizer_draws():
    class Drawn(Pixels):
        def latents(self, codes, noise):
            x = super().latents(codes, noise)
            return x + noise(x)

    made = generator()
    drawn = Generator(made.denoiser, Drawn(size=8), made.classes, null=3)
    still = [g.as_classifier(schedule=Exhaustive(Even(4))) for g in (made, drawn)]
    plain, mean = (each.evidence(pictures(2)).errors for each in still)
    assert torch.equal(plain, mean)


def test_the_models_of_the_zoo_classify_what_they_draw():
    made = load("emoji-dit-tiny")
    images = made.sample(["flag", "face"], seeds=range(2), steps=10)
    classifier = made.as_classifier(["flag", "face"], schedule=Exhaustive(Even(6)))
    named = classifier.fit(None, ["flag", "face"]).predict(images)
    assert named.tolist() == ["flag", "flag", "face", "face"]


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(1, 3, 8, 8), "images are float32 from 0 to 0; expected uint8"),
        (torch.zeros(1, 3, 9, 8, dtype=torch.uint8), "8 x 9 px, but this model makes 8 x 8 px"),
        (torch.zeros(1, 1, 8, 8, dtype=torch.uint8), r"shape \(1, 1, 8, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"for one image \(1, 3, height, width\)"),
        (torch.zeros(0, 3, 8, 8, dtype=torch.uint8), "no images were given"),
    ],
)
def test_other_images_are_refused(images, said):
    with pytest.raises(DataError, match=said):
        generator().as_classifier().predict(images)


def test_classes_that_cannot_be_told_apart_are_refused():
    with pytest.raises(DataError, match="only one class was given, 'cat'"):
        generator().as_classifier(["cat"])
    with pytest.raises(DataError, match="did you mean dog"):
        generator().as_classifier(["cat", "dgo"])
    masked = Generator(nn.Identity(), Pixels(size=8), ("cat", "dog"))
    with pytest.raises(ConfigError, match="predicts no noise"):
        masked.as_classifier()
    nameless = Generator(model("dit"), Pixels(size=8), ())
    with pytest.raises(DataError, match="trained without classes"):
        nameless.as_classifier()


# texts -------------------------------------------------------------------------------------------


def unet() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import UNet2DConditionModel

        made: Any = UNet2DConditionModel(
            sample_size=8,
            in_channels=4,
            out_channels=4,
            block_out_channels=(8, 16),
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=12,
            attention_head_dim=4,
            norm_num_groups=4,
        )
    return shaken(made)


class Tokens:
    """A tokenizer and an encoder of texts, as transformers' are called."""

    model_max_length = 5

    def __call__(self, texts, padding, max_length, truncation, return_tensors):
        rows = [[ord(c) % 7 for c in text][:max_length] for text in texts]
        self.input_ids = torch.tensor([row + [0] * (max_length - len(row)) for row in rows])
        return self


class Encoder(nn.Embedding):
    def forward(self, ids):
        return (super().forward(ids),)


SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def test_texts_classify_through_a_unet_of_diffusers():
    denoiser = unet_denoiser(unet(), SCHEDULER | {"prediction_type": "epsilon"})
    assert denoiser.path == DiscreteVP(ScaledLinearBetas())
    texts = [*filled(TEMPLATES["objects"], ["cat", "dog"]), "a dog"]
    conditions = embedded(texts, Tokens(), shaken(Encoder(7, 12)))
    assert conditions.shape == (3, 5, 12)
    classifier = DiffusionClassifier(
        denoiser,
        labelling=Prompts(conditions * 10, ("cat", "dog", "dog")),
        schedule=Exhaustive(Even(4)),
    ).fit(None, ["cat", "dog"])
    x = SeededNoise(range(2))(torch.empty(2, 4, 8, 8))
    found = classifier.evidence(x)
    assert found.errors.shape == (2, 3, 4)
    assert float(found.errors.std(1).max()) > 0
    # By hand: what the release does for one image, one text and one time.
    t = found.plan.t[:1]
    draw = classifier.draws(torch.tensor([0]), x)
    signal = denoiser.path.signal[int((t * 1000).round())].float()
    noisy = signal.sqrt() * x[:1] + (1 - signal).sqrt() * draw
    step = torch.tensor([int((t * 1000).round()) - 1])
    out = denoiser.network.unet(noisy, step, encoder_hidden_states=conditions[:1] * 10).sample
    assert float(found.errors[0, 0, 0]) == pytest.approx(
        float(((draw - out) ** 2).mean()), rel=1e-4
    )


def test_texts_that_cannot_be_used_are_refused():
    with pytest.raises(ConfigError, match="only epsilon is read"):
        unet_denoiser(nn.Identity(), SCHEDULER | {"prediction_type": "v_prediction"})
    with pytest.raises(ConfigError, match="beta_schedule 'sigmoid'"):
        unet_denoiser(nn.Identity(), {"beta_schedule": "sigmoid"})
    with pytest.raises(DataError, match="no place for the name"):
        filled("a photo", ["cat"])
    with pytest.raises(DataError, match="no prompt was given"):
        embedded([], Tokens(), nn.Identity())
