"""PPGN models: what trains them, what they are made of, and what chains may be asked for."""

import json
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import softplus

import mezzotint
from mezzotint import checkpoint, classifier, config
from mezzotint.classifier import committee
from mezzotint.data.images import InMemory
from mezzotint.data.loader import Batch
from mezzotint.diffusion.critics import Through
from mezzotint.diffusion.langevin import DGN_AM, NOISELESS, Weights
from mezzotint.errors import CheckpointError, ConfigError, DataError
from mezzotint.networks.players import Played
from mezzotint.networks.tapped import Tapped
from mezzotint.noise import SeededNoise
from mezzotint.plugged import model as plugged_model
from mezzotint.plugged.opening import HiddenUnit, Seeing, asking, of_generator, opened, recipe
from mezzotint.plugged.walk import Pieces, Walk
from mezzotint.training.adversarial import Encoder, Jitter, Playing, Terms, shaken
from tests.laws.test_law_11_resume import everything, losses
from tests.plugged import CAFFENET, plugged, tiny_encoder, write_encoder
from tests.tiny import ALONE, finish, resolved, tiny


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finish(tiny(tmp_path_factory.mktemp("ppgn") / "run", tree=plugged()))


@pytest.fixture(scope="module")
def model(run):
    return plugged_model.load(run.folder)


def batch(count=6):
    generator = torch.Generator().manual_seed(0)
    images = InMemory.of(
        torch.randint(0, 256, (count, 3, 8, 8), generator=generator, dtype=torch.uint8),
        torch.arange(count) % 10,
        tuple(map(str, range(10))),
    )
    return Batch(images.pixels, images.labels, list(range(count)))


JOINT = (
    "train.jitter={image: 0.1, maps: 0.1, code: 0.1}",
    "train.terms={code: 0.5}",
    "train.flip=true",
    "train.accumulate=3",
)


@pytest.mark.parametrize("settings", [(), JOINT], ids=["noiseless joint", "joint, in pieces"])
def test_law_11_a_run_in_two_parts_is_the_run_in_one(tmp_path, settings):
    whole = tiny(tmp_path / "whole", *settings, tree=plugged())
    whole.open()
    expected = losses(whole)
    first = tiny(tmp_path / "parts", *settings, tree=plugged())
    first.open()
    for _ in first.fit(lambda: first.state.step >= 5):
        pass
    second = tiny(tmp_path / "parts", *settings, tree=plugged())
    assert second.open()
    assert losses(second) == expected[5:]
    ours, theirs = everything(second), everything(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_the_recipe_learns_what_its_encoder_is(run):
    found = run.recipe.model
    assert found.encoder.digest == classifier.load(tiny_encoder()).digest
    assert found.network.code == found.network.generator.code == 12
    assert found.network.autoencoder.code == 12
    assert run.network.generator.linear[0].in_features == 12
    lines = [json.loads(row) for row in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert {"held_out_image", "held_out_maps", "held_out_accuracy"} <= lines[-1].keys()


def test_every_player_learns_and_only_by_its_own_loss(run):
    recipe_ = run.recipe
    network = recipe_.model.network.build()
    torch.manual_seed(0)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.2)
    objective = recipe_.objective(network, ALONE.device)
    objective(batch()).total.backward()
    frozen = {n for n, p in network.named_parameters() if not p.requires_grad}
    assert (
        frozen == {n for n in frozen if n.startswith("generator.stages") and "bias" in n} != set()
    )
    gradients = {n: p.grad.clone() for n, p in network.named_parameters() if p.requires_grad}
    assert all(gradient.abs().sum() > 0 for gradient in gradients.values())

    x = objective.tokenizer.latents(batch().images, SeededNoise([]))
    code = objective.encoder(x)
    network.zero_grad()
    found = softplus(-network.discriminator(x)) + softplus(
        network.discriminator(network.generator(code).detach())
    )
    found.mean().backward()
    for name, parameter in network.discriminator.named_parameters():
        assert torch.allclose(parameter.grad, gradients[f"discriminator.{name}"], atol=1e-6)


@pytest.mark.parametrize(
    ("judged", "real", "learns"),
    [(-9.0, 9.0, "generator"), (9.0, -9.0, "discriminator"), (0.0, 0.0, "both")],
)
def test_the_player_that_is_far_ahead_pauses(judged, real, learns):
    leaf = torch.zeros(6, requires_grad=True)
    rival = torch.zeros(6, requires_grad=True)

    def players(codes, images, noisy):
        return Played(
            images=images + leaf[:, None, None, None],
            real=rival + real,
            fake=rival.detach() + judged,
            judged=leaf + judged,
            codes=None,
        )

    encoder = plugged_model.encoder_of(classifier.load(tiny_encoder()))
    tokenizer = config.load("tokenizer", {"kind": "pixels", "size": 8})
    Playing(players, encoder, tokenizer, 10)(batch()).total.backward()
    moved = {"generator": leaf.grad.abs().sum() > 0, "discriminator": rival.grad.abs().sum() > 0}
    assert moved == {name: learns in (name, "both") for name in moved}


def test_the_loss_is_the_weighted_sum_of_its_terms(model):
    encoder = plugged_model.encoder_of(model.classifier)
    found = batch()
    x = model_tokenizer().latents(found.images, SeededNoise([]))
    terms = Terms(image=2.0, maps=0.5, code=0.25, adversarial=0.125)
    loss = Playing(model.network, encoder, model_tokenizer(), 10, terms=terms)(found)
    made = model.network.generator(encoder(x))
    maps = (encoder.maps(made) - encoder.maps(x)).square().flatten(1).mean(1)
    code = (encoder(made) - encoder(x)).square().mean(1)
    wanted = 2.0 * (made - x).square().flatten(1).mean(1) + 0.5 * maps + 0.25 * code
    wanted = wanted + 0.125 * softplus(-model.network.discriminator(made))
    assert torch.allclose(loss.each, wanted, atol=1e-5)


def model_tokenizer():
    return config.load("tokenizer", {"kind": "pixels", "size": 8})


def test_jitter_is_a_share_of_the_mean_magnitude_and_comes_from_the_seeds():
    x = torch.stack([torch.full((4000,), 2.0), torch.full((4000,), -10.0)])
    noise = shaken(x, 0.1, SeededNoise([0, 1])) - x
    assert noise.std(1).tolist() == pytest.approx([0.2, 1.0], rel=0.05)
    swapped = shaken(x, 0.1, SeededNoise([1, 0])) - x
    assert torch.allclose(swapped[0] * 5, noise[1], atol=1e-4)
    assert shaken(x, 0.0, SeededNoise([0, 1])) is x
    encoder = Encoder(classifier.load(tiny_encoder()).network, 8)
    images = torch.randn(2, 3, 8, 8)
    clean = encoder.jittered(images, Jitter(), SeededNoise([0, 1]))
    assert torch.equal(clean, encoder(images))
    for place in ("image", "maps", "code"):
        assert not torch.equal(
            clean, encoder.jittered(images, Jitter(**{place: 0.1}), SeededNoise([0, 1]))
        )


def test_the_range_of_codes_is_remembered(run, model):
    images = run.images.read(torch.arange(len(run.images)))
    codes = plugged_model.encoder_of(model.classifier)(
        model_tokenizer().latents(images, SeededNoise([]))
    )
    assert (model.network.highest <= codes.amax(0) + 1e-6).all()
    assert model.network.highest.max() > 0
    assert model.network.lowest.abs().max() == 0, "codes behind a ReLU are never negative"
    assert model.walker.chain.bounds == (0.0, float(model.network.highest.max()))


def test_it_is_saved_and_opened_the_same(model, tmp_path):
    model.save(tmp_path / "again")
    again = plugged_model.load(tmp_path / "again")
    assert again.digest == model.digest
    first, second = (each.walker.sample(["3"], seeds=[1, 2]) for each in (model, again))
    assert torch.equal(first, second)
    assert model.cost()["parameters"] == sum(
        p.numel() for p in model.network.generator.parameters()
    )
    assert model.sheet().width > 8 * 64


def test_another_encoder_is_refused(model, tmp_path):
    model.save(tmp_path / "m")
    tree = json.loads((tmp_path / "m" / "config.json").read_text())
    tree["model"]["encoder"]["source"] = str(write_encoder(tmp_path / "other", seed=5))
    (tmp_path / "m" / "config.json").write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"another classifier .* than the one that codes are"):
        plugged_model.load(tmp_path / "m")
    tree["model"]["encoder"]["source"] = str(tmp_path / "nowhere")
    (tmp_path / "m" / "config.json").write_text(json.dumps(tree))
    with pytest.raises(CheckpointError, match=r"the encoder cannot be opened: .*set model.encoder"):
        plugged_model.load(tmp_path / "m")


def encoder_tree(folder, network=CAFFENET):
    tree = plugged()
    tree["model"]["encoder"] = {"source": str(write_encoder(folder, network=network))}
    return tree


def test_what_cannot_encode_is_refused(tmp_path):
    members = [
        classifier.load(write_encoder(tmp_path / str(k), seed=k, network=RESIDUAL))
        for k in range(2)
    ]
    for member in members:
        member.tree["provenance"] = {}
    committee(members).save(tmp_path / "committee")
    tree = plugged()
    tree["model"]["encoder"]["source"] = str(tmp_path / "committee")
    with pytest.raises(ConfigError, match="a committee classifier cannot encode: it has no last"):
        resolved(tree=tree)
    large = {**CAFFENET, "size": [12, 12]}
    tree = encoder_tree(tmp_path / "large", large)
    stored = json.loads((tmp_path / "large" / "config.json").read_text())
    stored["tokenizer"]["size"] = 12
    (tmp_path / "large" / "config.json").write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=r"model\.encoder reads 12 px and the data are 8 px"):
        resolved(tree=tree)


RESIDUAL = {"kind": "residual", "channels": 3, "size": [8, 8], "num_classes": 10}
RESIDUAL |= {"widths": [8, 16], "blocks": 1, "stride": 1}


def test_any_classifier_with_a_last_map_encodes(tmp_path):
    found = resolved(tree=encoder_tree(tmp_path / "e", RESIDUAL))
    assert found.model.network.code == 16
    network = classifier.load(tmp_path / "e").network
    x = torch.randn(2, 3, 8, 8)
    assert torch.equal(network.code(network.maps(x)), network.features(x))


def test_parts_that_disagree_are_refused():
    tree = plugged()
    with pytest.raises(ConfigError, match=r"generator.channels is 1, expected 3; leave it out"):
        resolved("model.network.generator.channels=1", tree=tree)
    with pytest.raises(ConfigError, match=r"model\.network\.generatr: unknown key"):
        resolved("model.network.generatr=upconvolution", tree=tree)


# Walking ----------------------------------------------------------------------------------------


def test_a_chain_depends_on_its_class_and_seed_alone(model):
    walker = model.walker.walking(model.sampling.model_copy(update={"steps": 6}))
    many = walker.sample(["1", "7"], seeds=range(4), batch=3).int()
    alone = walker.sample("7", seeds=2).int()
    assert many.shape == (8, 3, 8, 8)
    assert (many[6] - alone[0]).abs().max() <= 1
    assert not torch.equal(many[2], many[6])


def test_the_condition_is_exchanged_without_touching_the_generator(model):
    before = model.digest
    walker = model.walker
    guided = asking(walker, "digits-guide")
    assert guided.classes == tuple(map(str, range(10)))
    assert guided.digest != walker.digest
    images = [each.sample(["3"], seeds=[0]) for each in (walker, guided)]
    assert not torch.equal(*images)
    assert model.digest == before


@pytest.mark.parametrize("prior", ["none", "reconstruction", "autoencoder"])
def test_every_prior_of_the_model_walks(model, prior):
    walk = recipe(model.sampling, [f"prior={prior}", "weights.prior=0.5"], {})
    *_, last = model.walker.walking(walk).steps([3], [0])
    assert (last.pull.abs().sum() == 0) == (prior == "none")


def test_presets_are_the_published_variants():
    found = {
        name: config.load("walk", {"kind": "langevin", "preset": name}) for name in Walk.PRESETS
    }
    assert found["dgn-am"].weights == DGN_AM
    assert found["noiseless-joint"].weights == NOISELESS
    assert found["noiseless-joint"] == Walk()
    assert found["ppgn-h"].prior != found["joint"].prior
    assert found["denoiser"].prior == config.load("code-prior", {"kind": "denoiser", "t": 0.3})


def test_settings_are_laid_over_what_is_stored_or_over_a_preset():
    stored = Walk(steps=7)
    assert recipe(stored, ["weights.prior=3"], {}).steps == 7
    found = recipe(stored, ["weights.prior=3", "preset=dgn-am"], {"steps": 9})
    assert (found.steps, found.weights) == (9, Weights(3.0, 1.0, 0.0))
    assert recipe(stored, ["stride.first=0.5"], {"preset": "joint"}).stride.first == 0.5
    for setting, said in (
        ("preset=dgnam", "unknown preset 'dgnam'; did you mean dgn-am"),
        ("stesp=3", "stesp: unknown key; did you mean steps"),
        ("weights.prio=1", "weights.prio: unknown key"),
        ("prior=denoise", "unknown code-prior 'denoise'; did you mean denoiser"),
        ("enough=2", "enough: "),
    ):
        with pytest.raises(ConfigError, match=said):
            recipe(stored, [setting], {})


@pytest.mark.parametrize("prior", ["reconstruction", "autoencoder", "denoiser"])
def test_a_prior_that_a_model_lacks_is_named(prior):
    bare = Pieces(shape=(2,), view=lambda x: x)
    with pytest.raises(ConfigError, match=f"prior {prior}: this model has no .*; set prior to"):
        config.load("code-prior", prior).of(bare)


def test_any_denoiser_is_walked_on():
    made = mezzotint.load("emoji-dit-tiny").with_sampling(steps=2)
    walker = asking(of_generator(made), "emoji-guide")
    walker = walker.walking(walker.sampling.model_copy(update={"steps": 2}))
    assert walker.classes == made.classes
    links = list(walker.steps([0, 1], [5, 6]))
    assert links[0].codes.shape == (2, 3, 32, 32)
    assert links[0].pull.abs().sum() > 0
    assert torch.equal(walker.show(links[-1].after), walker.sample([0, 1], seeds=[5, 6])[[0, 3]])
    with pytest.raises(ConfigError, match="nothing is asked for"):
        _ = of_generator(made).chain


def test_a_model_without_codes_is_refused():
    with pytest.raises(ConfigError, match="digits-judge: no code space to walk on"):
        opened("digits-judge")


def test_hidden_units_are_read_and_refused():
    assert HiddenUnit.read("hidden.0:7") == HiddenUnit("hidden.0", 7)
    assert HiddenUnit.read("body.2:3@1,4") == HiddenUnit("body.2", 3, (1, 4))
    for text in ("hidden.0", "hidden.0:x", ":3", "a:1@2", "a:1@2,3,4", "a:-1"):
        with pytest.raises(ConfigError, match="is not a unit; expected LAYER:UNIT"):
            HiddenUnit.read(text)


def test_a_hidden_unit_pulls_alone_or_beside_a_class(model):
    units = (HiddenUnit("hidden.0", 5), HiddenUnit("convolutions.1", 2, (0, 1)))
    alone = asking(model.walker, None, units, classes=False)
    assert alone.classes == ()
    assert len(alone.asked) == 2
    assert alone.sample(seeds=[0, 1]).shape == (2, 3, 8, 8)
    beside = asking(model.walker, None, units)
    assert len(beside.asked) == 3
    assert beside.labels(["4"]).tolist() == [4]
    with pytest.raises(ConfigError, match=r"no layer 'hiden.0'; did you mean hidden.0"):
        asking(model.walker, None, (HiddenUnit("hiden.0", 5),))
    with pytest.raises(DataError, match="unit 99 is out of range: this layer has 12 units"):
        asking(model.walker, None, (HiddenUnit("hidden.0", 99),), classes=False).sample()


def test_a_tap_hears_the_layer_and_leaves_no_hook():
    network = classifier.load(tiny_encoder()).network
    x = torch.randn(2, 3, 8, 8)
    found = Tapped(network, "hidden.0")(x)
    assert torch.equal(found.relu(), network.code(network.maps(x)))
    assert not network.hidden[0]._forward_hooks
    with pytest.raises(ConfigError, match="put out no tensor"):
        Tapped(Silent(), "inner")(x)


class Silent(torch.nn.Module):
    """A network that never passes its layer."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Identity()

    def forward(self, x):
        return x


def test_a_critic_of_another_size_sees_images_resized():
    x = torch.rand(2, 3, 16, 16, requires_grad=True)
    small = Seeing(8)(x)
    assert small.shape == (2, 3, 8, 8)
    small.sum().backward()
    assert x.grad.abs().min() > 0
    assert Seeing(16)(x) is x


def test_a_hole_is_filled_and_the_rest_of_the_photo_stays(model):
    photo, mask = torch.rand(3, 8, 8) * 2 - 1, torch.zeros(1, 8, 8)
    mask[:, 2:6, 2:6] = 1
    walker = replace(model.walker, photo=photo, mask=mask)
    image = walker.sample(["3"], seeds=[0])[0]
    wanted = (photo * 127.5 + 127.5).round().to(torch.uint8)
    outside = (mask == 0).expand(3, -1, -1)
    assert torch.equal(image[outside], wanted[outside])
    assert not torch.equal(image, wanted)
    start = walker.start(SeededNoise([0, 1]))
    known = walker.pieces.encoder((photo * (1 - mask))[None])
    assert torch.equal(start, known.expand(2, -1))
    assert isinstance(walker.chain.critic.critics[-1], Through)
    with pytest.raises(DataError, match="the image is 9 x 8 px and this model makes 8 x 8 px"):
        replace(model.walker, photo=torch.zeros(3, 8, 9))
    with pytest.raises(DataError, match="a hole needs the image that it is in"):
        replace(model.walker, mask=mask)
    with pytest.raises(DataError, match="the mask is 7 x 8 px and the image 8 x 8 px"):
        _ = replace(walker, mask=torch.zeros(1, 8, 7)).chain


def test_classes_that_the_condition_network_lacks_are_named(model):
    with pytest.raises(DataError, match="the condition network knows no class 'three'"):
        model.walker.sample("three")
    with pytest.raises(DataError, match="class 11: the condition network knows 10, 0 to 9"):
        model.walker.sample(11)
    with pytest.raises(DataError, match="no class was asked for"):
        model.walker.sample([])


def test_a_ppgn_model_is_no_diffusion_model(model, tmp_path):
    model.save(tmp_path / "m")
    with pytest.raises(CheckpointError, match="a ppgn model, but a diffusion model is wanted"):
        checkpoint.open_model(tmp_path / "m", "diffusion")
