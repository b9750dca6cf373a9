"""Training of tokenizers: the parts of the loss, who learns from which, and what comes out."""

import math

import pytest
import torch

from mezzotint import config, recipe, stored
from mezzotint.data.loader import Batch
from mezzotint.errors import ConfigError, DataError
from mezzotint.nn.adversarial import StyleDiscriminator
from mezzotint.noise import SeededNoise
from mezzotint.perceptual import ByClassifier, apart
from mezzotint.tokenizer_recipe import TokenizerRecipe
from mezzotint.training.augment import Shifted
from mezzotint.training.pixel_losses import Absolute, Charbonnier, Huber, Squared
from mezzotint.training.reconstruction import Adversarial, trainee_of
from tests.tiny import ALONE, RIVAL, TOKENIZER, TREE, finish, resolved, tiny
from tests.unit.test_data_clips import write

CPU = ALONE.device
IMAGES = torch.arange(4 * 3 * 8 * 8).view(4, 3, 8, 8).remainder(251).to(torch.uint8)
BATCH = Batch(IMAGES, torch.tensor([0, 1, 2, 3]), [5, 6, 7, 8], step=3)


def wanted(*settings: str) -> TokenizerRecipe:
    found = resolved(*settings, tree=TOKENIZER)
    assert isinstance(found, TokenizerRecipe)
    return found


# The parts ------------------------------------------------------------------------------------


def test_pixel_losses_are_their_formulas():
    x, y = torch.tensor([[0.02, -0.5]]), torch.zeros(1, 2)
    assert Squared()(x, y).item() == pytest.approx((0.02**2 + 0.5**2) / 2)
    assert Absolute()(x, y).item() == pytest.approx(0.26)
    small, large = 0.02**2 / (2 * 0.05), 0.5 - 0.05 / 2
    assert Huber(0.05)(x, y).item() == pytest.approx((small + large) / 2)
    roots = [math.sqrt(d**2 + 1e-6) for d in (0.02, 0.5)]
    assert Charbonnier(1e-6)(x, y).item() == pytest.approx(sum(roots) / 2)


def test_a_rival_comes_in_by_and_by():
    plan = Adversarial(weight=0.4, lr=1e-3, warmup=4, starts=10, ramp=20)
    assert [plan.at(step) for step in (0, 9, 19, 29, 99)] == [0, 0, 0.2, 0.4, 0.4]
    assert plan.rate(0) == pytest.approx(2.5e-4)
    assert plan.rate(3) == plan.rate(50) == 1e-3
    assert Adversarial().at(0) == 0.05


def gradients(network) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def test_each_party_learns_from_its_own_part_alone():
    rival = {**RIVAL, "starts": 0, "ramp": 0, "weight": 1.0, "lecam": 0}
    whole = wanted(f"train.adversarial={rival}")
    torch.manual_seed(0)
    network = whole.network()
    objective = whole.objective(network, CPU)
    objective(BATCH).total.backward()
    both = gradients(network)
    for part in ("autoencoder", "critic"):
        network.zero_grad()
        x, noise = IMAGES / 127.5 - 1, SeededNoise(BATCH.seeds)
        for each in whole.train.augmentations:
            x = each(x, noise)
        seen = network(x, noise)
        own = objective._parts(seen, x, BATCH.step)
        loss = sum(own.values()).mean() if part == "autoencoder" else seen.told
        loss.backward()
        alone = {n: g for n, g in gradients(network).items() if n.startswith(part)}
        assert alone
        for name, grad in alone.items():
            torch.testing.assert_close(both[name], grad, rtol=1e-4, atol=1e-6)
    assert [len(p) > 0 for p in network.parties()] == [True, True]


def test_the_loss_is_the_sum_of_its_parts_and_is_watched():
    whole = wanted("train.weights={pixel: 2.0, penalty: 0.5}")
    torch.manual_seed(0)
    network = whole.network()
    loss = whole.objective(network, CPU)(BATCH)
    assert set(loss.parts) == {"pixel", "penalty"}
    assert float(sum(loss.parts.values())) == pytest.approx(float(loss.total.detach()), rel=1e-5)
    assert loss.group.tolist() == BATCH.y.tolist()


def test_a_perceptual_distance_is_none_between_equals_and_has_a_gradient():
    distance = ByClassifier("emoji-guide").to(CPU)
    x = torch.rand(2, 3, 32, 32) * 2 - 1
    assert distance(x, x).abs().max() < 1e-6
    moved = (x + 0.1 * torch.randn_like(x)).requires_grad_()
    far = distance(moved, x)
    far.sum().backward()
    assert (far > 0).all()
    assert moved.grad.abs().sum() > 0
    one = apart(lambda p: [p], torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1), torch.ones(1, 3, 1, 1))
    assert one.item() == pytest.approx(2 - 2 / 3**0.5, abs=1e-6)


def test_a_run_knows_its_perceptual_weights_again():
    plan = {"kind": "classifier", "source": "emoji-guide"}
    found = wanted(f"train.perceptual={plan}").train.perceptual
    assert found.digest
    other = config.load("perceptual", {**plan, "digest": "0123456789"})
    with pytest.raises(ConfigError, match="this run began with 01234567; put those weights back"):
        other.to(CPU)


def test_shifts_are_whole_and_alike_often():
    x = torch.arange(64.0).view(1, 1, 8, 8).expand(300, -1, -1, -1)
    moved = Shifted(1)(x, SeededNoise(range(300)))
    corners = moved[:, 0, 4, 4].tolist()
    assert set(corners) == {27.0, 28.0, 29.0, 35.0, 36.0, 37.0, 43.0, 44.0, 45.0}
    assert torch.equal(Shifted(0)(x, SeededNoise(range(300))), x)
    assert torch.equal(moved[7:8], Shifted(1)(x[:1], SeededNoise([7])))


# The run --------------------------------------------------------------------------------------


def test_it_learns_and_its_latents_are_of_unit_size(tmp_path):
    settings = ("train.steps=60", "train.lr=1e-2", "train.ema=[0.9]", "train.sample_every=60")
    run = tiny(tmp_path / "run", *settings, tree=TOKENIZER)
    before = run.recipe.held_out(run.network, CPU, run.held_out)
    finish(run)
    after = run.recipe.held_out(run.network, CPU, run.held_out)
    assert after["held_out_psnr"] > before["held_out_psnr"] + 5
    assert any(p.requires_grad for p in run.network.parameters()), "looking froze nothing"
    made = stored.load(tmp_path / "run")
    assert made.cost()["latent_floats"] == 64
    images = run.images.read(torch.arange(128))
    latents = made.latents(made.encode(images), SeededNoise(range(128)))
    assert latents.shape == (128, 4, 4, 4)
    assert float(latents.std()) == pytest.approx(1, abs=0.1)
    assert float(latents.mean()) == pytest.approx(0, abs=0.1)
    assert (tmp_path / "run" / "samples" / "step_000000060.png").exists()
    card = (tmp_path / "run" / "README.md").read_text()
    assert "A vitok tokenizer" in card


def test_stage_two_begins_with_stage_one_and_leaves_the_codes_as_they_are(tmp_path):
    finish(tiny(tmp_path / "one", tree=TOKENIZER))
    first = stored.load(tmp_path / "one")
    second = (f"train.adversarial={RIVAL}", "train.freeze=true", "train.lr=1e-2")
    run = tiny(tmp_path / "two", *second, tree=TOKENIZER, init_from=tmp_path / "one")
    run.open()
    for _ in run.fit():
        pass
    ours = trainee_of(run.network).autoencoder.state_dict()
    theirs = first.network.state_dict()
    front = ("patches.", "encoder.", "to_code.")
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor) is name.startswith(front), name
    again = stored.load(tmp_path / "two")
    assert torch.equal(again.encode(IMAGES), first.encode(IMAGES))
    assert not any("critic" in name for name in again.network.state_dict())


def test_budgets_are_drawn_for_each_image(tmp_path):
    whole = wanted("model.network.budgets=[2, 8]")
    network = whole.model.build()
    torch.nn.init.ones_(network.mask)
    z = torch.zeros(50, 4, 4, 4)
    left = (network.trimmed(z, SeededNoise(range(50))) == 0).all(1).flatten(1).sum(1)
    assert set(left.tolist()) == {2, 8}
    maps = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    rows = network.shortened(maps.flatten(2).transpose(1, 2), 5).transpose(1, 2)
    assert torch.equal(network.shortened(maps, 5).flatten(2), rows)
    assert torch.equal(rows[:, :, :5], maps.flatten(2)[:, :, :5])
    alone = network.trimmed(z[9:10], SeededNoise([9]))
    assert int((alone == 0).all(1).sum()) == int(left[9])
    assert finish(tiny(tmp_path / "run", "model.network.budgets=[2, 8]", tree=TOKENIZER)).done


def test_clips_are_trained_on(tmp_path):
    write(tmp_path / "clips", {f"{c}/{k}": 4 for c in "ab" for k in range(6)})
    data = {"kind": "clips", "path": str(tmp_path / "clips"), "size": 8, "frames": 4}
    tree = {**TOKENIZER, "data": {**data, "held_out_share": 0.3}}
    settings = ("model.network.tubelet=2", f"train.adversarial={RIVAL}", "train.augmentations=[]")
    run = finish(tiny(tmp_path / "run", *settings, tree=tree))
    assert run.recipe.model.network.frames == 4
    made = stored.load(tmp_path / "run")
    strips = run.images.read(torch.arange(2))
    assert made.spec.image == (32, 8)
    assert made.spec.shape == (4, 8, 4)
    assert made.decode(made.latents(made.encode(strips), SeededNoise([1, 2]))).shape == strips.shape
    with pytest.raises(ConfigError, match="frames 4 is not a multiple of tubelet 3"):
        resolved("model.network.tubelet=3", tree=tree)
    with pytest.raises(DataError, match="clips of 4 frames, each") as caught:
        made.encode(strips[:, :, :24])
    assert "\n" not in str(caught.value)


# Bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("model.network.patch=3", "size 8 is not a multiple of 3"),
        ("model.network.frames=2", "model.network.frames: 2, but the data make it 1"),
        ("model.size=16", "model.size: 16, but the data make it 8"),
        ("model.network.latent_chanels=3", "did you mean latent_channels"),
        ("model.network.encoder.heads=3", "width 16 must be a multiple of heads 3"),
        ("model.network.budgets=[99]", "a latent has 16 tokens"),
        ("model.network.codes=4", "codes: without a grid the decoder needs a table"),
        ("model.network.table=learned", "table: width 16 is no multiple of 6"),
        ("train.perceptual=lpip", "unknown perceptual 'lpip'; did you mean lpips?"),
        ("train.drop=0.1", "train.drop: unknown key"),
        ("train.adversarial={weight: 0}", "train.adversarial.weight: "),
    ],
)
def test_a_mistake_is_one_line_with_its_place(setting, said):
    with pytest.raises(ConfigError) as caught:
        resolved(setting, tree=TOKENIZER)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_that_patches_do_not_cover(tmp_path):
    finish(tiny(tmp_path / "run", "train.steps=1", tree=TOKENIZER))
    made = stored.load(tmp_path / "run")
    with pytest.raises(
        DataError, match="images of 9 x 8 pixels, but this tokenizer makes one place of 2 x 2"
    ):
        made.encode(torch.zeros(1, 3, 9, 8, dtype=torch.uint8))
    with pytest.raises(ConfigError, match="size 9 is not a multiple of 2"):
        made.at(9)


def test_a_recipe_comes_back_from_a_file():
    found = wanted(f"train.adversarial={RIVAL}", "train.perceptual=classifier")
    assert recipe.complete(config.dump(found)) == found
    assert found.changes(config.dump(found)) == []
    assert "train.adversarial" in found.changes(config.dump(wanted()))[0]


def clip_tree(folder):
    write(folder, {f"{c}/{k}": 4 for c in "ab" for k in range(6)})
    data = {"kind": "clips", "path": str(folder), "size": 8, "frames": 4, "held_out_share": 0.3}
    return {**TOKENIZER, "data": data}


def test_frames_of_a_clip_are_changed_alike_and_each_for_itself(tmp_path):
    tree = clip_tree(tmp_path / "clips")
    kinds = '["mirrored", {"kind": "shifted", "pixels": 3}, "colour", "affine", "cutout"]'
    whole = resolved("model.network.tubelet=2", f"train.augmentations={kinds}", tree=tree)
    loss = whole.objective(whole.network(), CPU)
    picture = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    changed = loss._augmented(picture.repeat(1, 1, 4, 1), SeededNoise([3, 4]))
    frames = changed.unflatten(2, (4, 8)).unbind(2)
    assert all(torch.equal(frames[0], each) for each in frames)
    assert not torch.equal(frames[0], picture)
    noise, alone = SeededNoise([3, 4]), picture
    for each in loss.augmentations:
        alone = each(alone, noise)
    assert torch.equal(frames[0], alone)


def test_clips_want_a_tokenizer_of_clips(tmp_path):
    tree = clip_tree(tmp_path / "clips")
    network = {"kind": "kl", "latent_channels": 2, "width": 32, "multipliers": [1], "blocks": 1}
    with pytest.raises(
        ConfigError, match=r"clips of 4 frames, but model\.network: kl takes single"
    ):
        resolved(tree={**tree, "model": {"kind": "tokenizer", "network": network}})
    with pytest.raises(ConfigError, match=r"clips are for tokenizers; .* run mezzotint encode"):
        resolved(tree={**TREE, "data": tree["data"]})


def test_an_encoder_that_was_never_trained_is_not_frozen(tmp_path):
    run = tiny(tmp_path / "run", "train.freeze=true", tree=TOKENIZER)
    with pytest.raises(ConfigError, match=r"train\.freeze: the encoder would stay as it was drawn"):
        run.open()
    finish(tiny(tmp_path / "other", tree=TOKENIZER))
    wide = ("train.freeze=true", "model.network.encoder.width=32")
    run = tiny(tmp_path / "two", *wide, tree=TOKENIZER, init_from=tmp_path / "other")
    with pytest.raises(ConfigError, match=r"train\.freeze: the encoder would stay as it was drawn"):
        run.open()
    assert not (tmp_path / "two").exists()


@pytest.mark.parametrize("size", [4, 24, 48, 2048])
def test_a_rival_takes_powers_of_two(size):
    with pytest.raises(ConfigError, match=f"pictures of {size} px .* expected 8, 16, 32"):
        StyleDiscriminator(size, 3, 0.01)


def test_a_step_that_is_not_finite_is_not_remembered():
    rival = {**RIVAL, "lecam": 0.1}
    trainee = wanted(f"train.adversarial={rival}").network()
    bad, good = torch.full((4, 1), torch.nan), torch.ones(4, 1)
    assert not trainee._told(bad, good).isfinite()
    assert trainee.past.isfinite().all()
    before = trainee.past.clone()
    assert trainee._told(good, -good).isfinite()
    assert trainee.past[0] > before[0]


@pytest.mark.parametrize("setting", ["pixel", "perceptual", "penalty"])
def test_weights_are_not_negative(setting):
    with pytest.raises(ConfigError, match=f"train.weights.{setting}"):
        wanted(f"train.weights={{{setting}: -1}}")
