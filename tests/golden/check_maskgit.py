"""MaskGIT and the generators of its lineages: networks, losses, whole decodings (maskgit.md)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mezzotint.masked.generate import Canvas, MaskedGenerator
from mezzotint.masked.heads import Categorical
from mezzotint.masked.masking import Nearest, Ratio
from mezzotint.masked.order import Choice, Order, halton_path
from mezzotint.masked.plan import (
    Arccos,
    Cosine,
    Masked,
    Moment,
    single,
)
from mezzotint.networks.halton import Halton
from mezzotint.networks.maskgit import MaskGIT
from mezzotint.noise import Noise, TapeNoise
from mezzotint.official import halton, maskgit, titok
from tests.golden.case import Case, checks

LOGITS = 5e-5
FORWARD = 2e-5


def normal_of_gumbel(gumbel: Tensor) -> Tensor:
    """Return the normal draws that our Gumbel draws are made of."""
    return torch.special.ndtri(torch.exp(-torch.exp(-gumbel.double())))


def gumbel_of_uniform(uniform: Tensor) -> Tensor:
    """Return TiTok's Gumbel draws: both logarithms are clamped at 1e-20."""
    inner = -torch.log(uniform.clamp(min=1e-20))
    return -torch.log(inner.clamp(min=1e-20))


@dataclass(frozen=True)
class Taped(Categorical):
    """A head whose draws were recorded for all places of each stage."""

    draws: Any = None

    def pick(self, logits: Tensor, moment: Moment, noise: Noise) -> Tensor:
        return self.draws[moment.stage].long()


@dataclass(frozen=True)
class Watched:
    """An order that tells where it chose."""

    inner: Order
    chosen: list[Tensor] = field(default_factory=list)

    @property
    def looks(self) -> bool:
        return self.inner.looks

    def begin(self, masked: Tensor, noise: Noise) -> Choice:
        choose = self.inner.begin(masked, noise)

        def choice(*arguments: Any) -> Tensor:
            self.chosen.append(choose(*arguments))
            return self.chosen[-1]

        return choice


def same_again(case: Case, again: dict[str, Tensor]) -> None:
    """Compare what is written back under the official names with what was read, bit for bit."""
    assert again.keys() == case.state.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())


# the original ------------------------------------------------------------------------------------


def original(case: Case) -> MaskGIT:
    model = MaskGIT(maskgit.config_of(case.config)).eval()
    ours = maskgit.from_official(case.state)
    model.load_state_dict(ours)
    same_again(case, maskgit.to_official(ours, heads=case.config["heads"]))
    return model


@checks("maskgit", r"maskgit_transformer\.py", "state/Embed_0/*", "input/input_ids")
def jax_maskgit(case: Case) -> None:
    model = original(case)
    codes = model.codes
    ids = case.input("input_ids").long()
    with torch.no_grad():
        masked, y = ids[:, 1:] == case.config.get("mask_token_id", -1), ids[:, 0] - codes
        where = torch.arange(model.length).expand(len(ids), -1)
        logits = model.read(model.hidden(model.ids(ids[:, 1:], masked), where, y, None)[0])
        case.expect("logits", logits, atol=LOGITS)
        whole = model(ids[:, 1:], masked, y)  # of other rows, so it may round otherwise
        assert torch.allclose(whole, logits[:, 1:, :codes], rtol=0, atol=1e-6)
    weights = case.input("loss_weights")
    for name, count in (("loss_full_vocab", None), ("loss_codebook_only", codes)):
        head = Categorical(codes=count, smoothing=0.1)
        each = head.loss(logits[:, 1:], case.input("gt").long(), TapeNoise([]))
        # Each image's mean over its masked tokens, then the mean of the images.
        per_image = (each * weights).sum(1) / weights.sum(1)
        case.expect(name, per_image.mean()[None], atol=1e-5)
    if "input/decode_start" in case.tensors:
        jax_decode(case, model)


def jax_decode(case: Case, model: MaskGIT) -> None:
    settings = case.config["decode"]
    start = case.input("decode_start").long()
    rows = [jax_decoded(case, model, row) for row in range(len(start))]
    seqs, lengths, masking = (torch.stack(part) for part in zip(*rows, strict=True))
    # Iterations before the first are there in the release's sequences, and in nothing else.
    count = settings["num_iter"] - settings.get("start_iter", 0)
    case.expect("decode_final_seqs", seqs, atol=0)
    case.expect("decode_mask_len", lengths.T[-count:], atol=0)
    case.expect("decode_masking", masking.transpose(0, 1)[-count:].float(), atol=0)


def jax_decoded(case: Case, model: MaskGIT, row: int) -> tuple[Tensor, Tensor, Tensor]:
    """Decode one image; holes of different images may differ in size."""
    settings = case.config["decode"]
    start = case.input("decode_start").long()[row : row + 1]
    tokens, y = start[:, 1:], start[:, 0] - model.codes
    masked = tokens == case.config.get("mask_token_id", -1)
    steps, begin = settings["num_iter"], settings.get("start_iter", 0)
    reveal, order, scale = maskgit.parts(
        choice_temperature=settings["choice_temperature"],
        schedule=settings.get("schedule", "cosine"),
        start=begin,
    )
    plan = single(reveal(int(masked.sum()), steps))
    # Recorded from the first iteration on; ours are told by their index.
    draws = case.input("decode_draws").long()[:, row : row + 1, 1:]
    draws = torch.cat([draws[:1].expand(steps - len(draws), -1, -1), draws])
    gumbel = case.input("decode_gumbel")[-(steps - begin) :, row : row + 1, 1:]
    watched = Watched(order)
    generator = MaskedGenerator(model, Taped(draws=draws), plan, watched, scale)
    seqs, masking = [start[0, 1:]] * begin, [masked[0]] * begin
    with torch.no_grad():
        tape = TapeNoise(normal_of_gumbel(gumbel))
        canvases = {c.moment.stage: c for c in generator.fill(tokens, masked, y, tape)}
    for stage in range(begin, steps):
        seqs.append(torch.where(masked, draws[stage], tokens)[0])
        # A stage that reveals nothing, as those do that are left with one token, has no canvas.
        if stage in canvases:
            tokens, masked = canvases[stage].tokens, canvases[stage].masked
        masking.append(masked[0].clone())
    if watched.chosen:
        # The release marks the least sure token as masked in the end, and returns its draw.
        masking[-1][watched.chosen[-1][0, -1]] = True
    lengths = torch.tensor([max(1, moment.left) for (moment,) in plan.moments()])
    assert torch.equal(seqs[-1], tokens[0])
    shown = torch.stack([torch.cat([start[0, :1], each]) for each in seqs])
    known = torch.zeros(1, dtype=torch.bool)
    return shown, lengths, torch.stack([torch.cat([known, each]) for each in masking])


# TiTok -------------------------------------------------------------------------------------------


@checks("maskgit", r"maskgit\.py:ImageBert", "state/model.embeddings.*", "input/condition")
def image_bert(case: Case) -> None:
    config = titok.bert_of(case.config["model"])
    model = config.build().eval()
    ours = titok.bert_from_official(case.state)
    model.load_state_dict(ours)
    same_again(case, titok.bert_to_official(ours))
    titok_case(case, model)


@checks("maskgit", r"maskgit\.py:UViTBert", "state/in_blocks.*", "input/condition")
def uvit_bert(case: Case) -> None:
    config = titok.uvit_of(case.config["model"])
    model = config.build().eval()
    ours = titok.uvit_from_official(case.state)
    model.load_state_dict(ours)
    same_again(case, titok.uvit_to_official(ours))
    titok_case(case, model)


def titok_case(case: Case, model: Any) -> None:
    y, ids, null = case.input("condition"), case.input("ids"), model.null
    counts = Ratio(Arccos(), rounding=Nearest()).counts(case.input("mask_timesteps"), ids.shape[1])
    # The release compares the places, not the ranks, of its noise map with the count.
    masked = case.input("mask_perm_noise").argsort(dim=-1) < counts[:, None]
    case.expect("masks", masked.float(), atol=0)
    case.expect("masked_ids", model.ids(ids, masked), atol=0)
    with torch.no_grad():
        for name, labels in (("cond", y), ("uncond", torch.full_like(y, null))):
            case.expect(f"logits_{name}", model(ids, masked, labels), atol=FORWARD)
        titok_loss(case, model, masked, y)
        titok_generation(case, model, y)


def titok_loss(case: Case, model: Any, masked: Tensor, y: Tensor) -> None:
    """Compare the loss: 1 a masked token, 0.1 one that is seen, over the sum of the weights."""
    ids = case.input("ids")
    each = Categorical(smoothing=0.1).loss(model(ids, masked, y), ids, TapeNoise([]))
    weight = torch.where(masked, 1.0, 0.1)
    case.expect("loss", ((each * weight).sum() / weight.sum())[None], atol=1e-5)


def titok_generation(case: Case, model: Any, y: Tensor) -> None:
    settings = case.config["generate"]
    reveal, order, head, scale = titok.parts(settings)
    plan = single(reveal(model.length, settings["num_sample_steps"]))
    uniforms = (case.input("gen_token_uniform"), case.input("gen_conf_uniform"))
    tape = [
        normal_of_gumbel(gumbel_of_uniform(u)) for pair in zip(*uniforms, strict=True) for u in pair
    ]
    *_, last = MaskedGenerator(model, head, plan, order, scale)(y, TapeNoise(tape))
    case.expect("generated", last.tokens, atol=0)


# Halton ------------------------------------------------------------------------------------------


def halton_model(case: Case) -> Halton:
    model = halton.config_of(case.config).build().eval()
    ours = halton.from_official(case.state)
    model.load_state_dict(ours)
    same_again(case, halton.to_official(ours, tied="head.weight" in case.state))
    return model


@checks("maskgit", r"Network/transformer\.py:Transformer", "state/cls_emb.weight", "input/code")
def halton_forward(case: Case) -> None:
    model = halton_model(case)
    y = torch.where(case.input("drop_label"), model.config.null, case.input("y"))
    code = case.input("code").flatten(1)
    with torch.no_grad():
        case.expect("logits", model(code, code == model.mask, y), atol=FORWARD)


@checks("maskgit", r"Sampler/.*_sampler\.py", "state/cls_emb.weight", "input/labels")
def halton_samplers(case: Case) -> None:
    model, y = halton_model(case), case.input("labels").long()
    with torch.no_grad():
        all_masked_logits(case, model, y)
        halton_confidence(case, model, y)
        halton_visiting(case, model, y)


def all_masked_logits(case: Case, model: Halton, y: Tensor) -> None:
    """Compare the logits of an empty canvas, unless they were recorded while dropout was at work.

    Without a class all images are one and the same input, so their logits have to be equal; where
    they are not, no implementation can meet them, and they are looked at from further off.
    """
    empty = model.empty(len(y))
    recorded = case.tensors["output/logits_all_masked_uncond"]
    for name, labels in (("cond", y), ("uncond", torch.full_like(y, model.config.null))):
        logits = model(empty, empty >= 0, labels)
        if len(y) > 1 and torch.allclose(recorded, recorded[:1].expand_as(recorded), atol=FORWARD):
            case.expect(f"logits_all_masked_{name}", logits, atol=FORWARD)
        else:
            wanted = case.tensors[f"output/logits_all_masked_{name}"]
            assert float((logits - wanted).std()) < 0.5 * float(wanted.std())
            case.compared.add(f"logits_all_masked_{name}")


def final(model: Halton, canvas: Canvas) -> Tensor:
    """Return the codes as the release does: what is the mask in the end becomes the last code."""
    return canvas.tokens.clamp(max=model.codes - 1).unflatten(1, model.config.size)


def halton_confidence(case: Case, model: Halton, y: Tensor) -> None:
    settings = case.config["confidence"]
    reveal, order, head, scale = halton.confident(settings)
    plan = single(reveal(model.length, settings["step"]))
    known = reveal.known(model.length, settings["step"])
    case.expect("conf_schedule", torch.tensor(known), atol=0)
    taped = Taped(head.temperature, draws=case.input("conf_draws"))
    tape = TapeNoise(normal_of_gumbel(case.input("conf_gumbel")))
    generator = MaskedGenerator(model, taped, plan, order, scale, again=True)
    canvases = list(generator(y, tape))
    masks = torch.stack([canvas.masked for canvas in canvases]).unflatten(2, model.config.size)
    case.expect("conf_masks", masks.float(), atol=0)
    case.expect("conf_final", final(model, canvases[-1]), atol=0)


def halton_visiting(case: Case, model: Halton, y: Tensor) -> None:
    settings = case.config["halton"]
    reveal, order, _, scale = halton.visiting(settings, model.config.size)
    plan = single(reveal(model.length, settings["step"]))
    watched, draws = Watched(order), case.input("halton_draws").long()

    @dataclass(frozen=True)
    class There(Categorical):
        def pick(self, logits: Tensor, moment: Moment, noise: Noise) -> Tensor:
            return draws[moment.stage].gather(1, watched.chosen[-1])

    tape: list[Tensor] = []
    if settings.get("randomize"):
        share = (case.input("halton_roll").double()[:, None] + 0.5) / model.length
        tape.append(torch.special.ndtri(share))
    before = torch.ones(len(y), model.length, dtype=torch.bool)
    masks = []
    for canvas in MaskedGenerator(model, There(), plan, watched, scale)(y, TapeNoise(tape)):
        masks.append(before & ~canvas.masked)
        before = canvas.masked
    case.expect("halton_masks", torch.stack(masks).unflatten(2, model.config.size).float(), atol=0)
    case.expect("halton_final", final(model, canvas), atol=0)


@checks("maskgit", r"mask_schedule\.py", "output/halton_order_*")
def schedules(case: Case) -> None:
    for name in case.outputs("halton_order_*"):
        side = int(name.rpartition("_")[2])
        path = halton_path((side, side))
        case.expect(name, torch.stack([path // side, path % side], dim=1), atol=0)
    for name in case.outputs("confidence_schedule/*"):
        mode, stages, across = name.partition("/")[2].split("_")
        known = halton.Early(share=halton.SHARES[mode]).known(int(across) ** 2, int(stages))
        case.expect(name, torch.tensor(known), atol=0)
    for name in case.outputs("maskgit_cosine_masklen_*"):
        steps, total = (int(part) for part in name.split("_")[-2:])
        # Recomputed in float64; the release's own float32 may come out one less.
        counts = torch.tensor(Masked(Cosine())(total, steps))
        case.expect(name, (total - counts.cumsum(0)).clamp(min=1), atol=0)
