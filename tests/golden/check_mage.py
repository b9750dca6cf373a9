"""MAGE: pre-training with fixed masks, and the generation loop (mage.md)."""

import torch

from mezzotint.masked.generate import MaskedGenerator
from mezzotint.masked.heads import Categorical
from mezzotint.masked.masking import TruncatedNormal, smallest
from mezzotint.masked.plan import single
from mezzotint.networks.mage import MAGE
from mezzotint.noise import TapeNoise
from mezzotint.official import mage
from tests.golden.case import Case, checks
from tests.golden.check_maskgit import Taped, Watched, normal_of_gumbel

FORWARD = 2e-5
LOGITS = 5e-5


def network(case: Case) -> MAGE:
    """Return the case's network; tensors that nothing uses come and go where all are there."""
    whole = {"cls_token", "decoder_pred.weight", "patch_embed.proj.weight"} <= case.state.keys()
    model = mage.config_of(case.config, unused=whole).build().eval()
    ours = mage.from_official(case.state, unused=whole)
    model.load_state_dict(ours)
    if whole:
        again = mage.to_official(ours, ids="token_emb.position_ids" in case.state)
        assert again.keys() == case.state.keys()
        assert all(torch.equal(again[name], tensor) for name, tensor in case.state.items())
    return model


@checks("mage", r"MaskedGenerativeEncoderViT", "state/token_emb.*", "input/mask_rate")
def mage_training(case: Case) -> None:
    model, tokens = network(case), case.input("token_indices")
    law = TruncatedNormal(low=case.config["mask_ratio_min"], high=case.config["mask_ratio_max"])
    counts, dropped = law.counts(case.input("mask_rate").expand(len(tokens)), model.length)
    rank = case.input("noise")
    masked = smallest(rank, counts)
    unseen = smallest(rank, torch.full_like(counts, dropped))
    known = torch.zeros(len(tokens), 1)
    case.expect("token_all_mask", torch.cat([known, masked.float()], dim=1), atol=0)
    case.expect("token_drop_mask", torch.cat([known, unseen.float()], dim=1), atol=0)
    where = torch.arange(model.length).expand(len(tokens), -1)
    seen = (~unseen).nonzero()[:, 1].view(len(tokens), -1)
    y = torch.zeros(len(tokens), dtype=torch.int64)
    with torch.no_grad():
        encoded, _ = model.encode(model.ids(tokens, masked).gather(1, seen), seen)
        case.expect("latent", encoded, atol=FORWARD)
        hidden, _ = model.decoded(encoded, seen, masked, where, y)
        logits = model.head(hidden, model.words.weight)
        case.expect("logits", logits, atol=LOGITS)
        assert torch.equal(model.restored(tokens, unseen, masked, y), logits[:, 1:])
    head = Categorical(codes=model.codes, smoothing=0.1)
    each = head.loss(logits[:, 1:], tokens, TapeNoise([]))
    case.expect("loss", (each * masked).sum()[None] / masked.sum(), atol=1e-5)


@checks("mage", r"gen_img_uncond\.py", "state/token_emb.*", "input/categorical_draws")
def mage_generation(case: Case) -> None:
    model, settings = network(case), case.config["sample"]
    draws, gumbel = case.input("categorical_draws").long(), case.input("gumbel")
    steps, batch, length = draws.shape
    reveal, order = mage.parts(temperature=settings["choice_temperature"])
    plan = single(reveal(length, settings["num_iter"]))
    lengths = [max(1, moment.left) for (moment,) in plan.moments()]
    case.expect("mask_len", torch.tensor(lengths), atol=0)
    y = torch.zeros(batch, dtype=torch.int64)
    watched = Watched(order)
    generator = MaskedGenerator(model, Taped(draws=draws), plan, watched)
    before = torch.ones(batch, length, dtype=torch.bool)
    tokens, probe = model.empty(batch), case.input("probe_positions")
    where = torch.arange(length).expand(batch, -1)
    masking, probabilities = [], []
    with torch.no_grad():
        for canvas in generator(y, TapeNoise(normal_of_gumbel(gumbel))):
            encoded, _ = model.encode(model.ids(tokens, before), where)
            full, _ = model.decode(encoded, where, before, where, y)
            logits = full[..., : model.codes]
            ids = torch.where(before, draws[canvas.moment.stage], tokens)
            chosen = logits.softmax(-1).gather(-1, ids[..., None])[..., 0]
            probabilities.append(chosen.masked_fill(~before, float("inf")))
            stage = canvas.moment.stage
            for name in {0: ["first"], steps - 1: ["last"]}.get(stage, []):
                case.expect(f"logits_probe_{name}", logits[:, probe], atol=LOGITS)
                tail = full[:, probe[:2] if name == "first" else probe, model.codes :]
                case.expect(f"logits_extra_vocab_{name}", tail, atol=LOGITS)
            tokens, before = canvas.tokens, canvas.masked
            masking.append(before)
    case.expect("final_ids", tokens, atol=0)
    # The release marks the least sure token as masked in the end, and returns its draw.
    masking[-1] = masking[-1].scatter(1, watched.chosen[-1][:, -1:], value=True)
    case.expect("masking", torch.stack(masking).float(), atol=0)
    # Known tokens are infinitely sure, which no difference can be taken of.
    found, wanted = torch.stack(probabilities), case.tensors["output/selected_probs"]
    assert torch.equal(found.isinf(), wanted.isinf())
    assert torch.allclose(found, wanted, rtol=0, atol=1e-5)
    case.compared.add("selected_probs")
