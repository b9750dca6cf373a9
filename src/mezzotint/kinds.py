"""The table of contents of the library: role -> kind -> "module:Class".

Strings only, so that reading it imports nothing. Other packages add rows through the entry-point
group `mezzotint.kinds`, whose entries are named "role.kind".
"""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Final

GROUP: Final = "mezzotint.kinds"

KINDS: Final[dict[str, dict[str, str]]] = {
    "network": {
        "dit": "mezzotint.networks.dit:DiTConfig",
        "lit": "mezzotint.networks.lit:LiTConfig",
        "dico": "mezzotint.networks.dico:DiCoConfig",
        "uvit": "mezzotint.networks.uvit:UViTConfig",
        "adm": "mezzotint.networks.adm:ADMConfig",
        "dimr": "mezzotint.networks.dimr:DiMRConfig",
        "maskgit": "mezzotint.networks.maskgit:MaskGITConfig",
        "nat": "mezzotint.networks.nat:NATConfig",
        "uvit-bert": "mezzotint.networks.nat:UViTBertConfig",
        "halton": "mezzotint.networks.halton:HaltonConfig",
        "mage": "mezzotint.networks.mage:MAGEConfig",
        "residual": "mezzotint.networks.classifier:ResidualConfig",
        "depthwise": "mezzotint.networks.classifier:DepthwiseConfig",
        "committee": "mezzotint.networks.classifier:CommitteeConfig",
        "timm": "mezzotint.networks.timm_classifier:TimmConfig",
        "adm-classifier": "mezzotint.networks.adm_classifier:ADMClassifierConfig",
        "mar": "mezzotint.networks.mar:MARConfig",
        "token-mlp": "mezzotint.networks.token_mlp:TokenMLPConfig",
        "kl": "mezzotint.tokenizers.kl:KLConfig",
        "caffenet": "mezzotint.networks.caffenet:CaffeNetConfig",
        "upconvolution": "mezzotint.networks.upconvolution:UpconvolutionConfig",
        "strided-discriminator": "mezzotint.networks.discriminator:StridedDiscriminatorConfig",
        "code-autoencoder": "mezzotint.networks.autoencoding:CodeAutoencoderConfig",
        "image-autoencoder": "mezzotint.networks.autoencoding:ImageAutoencoderConfig",
        "ppgn": "mezzotint.networks.players:PlayersConfig",
        "vq": "mezzotint.tokenizers.vq:VQConfig",
        "maskgit-vq": "mezzotint.tokenizers.maskgit_vq:MaskGITVQConfig",
        "vitok": "mezzotint.tokenizers.vitok:ViTokConfig",
        "vitok2": "mezzotint.tokenizers.vitok2:ViTok2Config",
        "navae": "mezzotint.tokenizers.navae:NaVAEConfig",
        "token-dit": "mezzotint.networks.token_dit:TokenDiTConfig",
    },
    "filter": {
        "lanczos": "mezzotint.nn.resample:Lanczos",
        "triangle": "mezzotint.nn.resample:Triangle",
    },
    "table": {
        "sines": "mezzotint.tokenizers.places:Sines",
        "learned": "mezzotint.tokenizers.places:Learned",
    },
    "rotary": {
        "by-index": "mezzotint.tokenizers.places:ByIndex",
        "by-axes": "mezzotint.tokenizers.places:ByAxes",
        "by-three-axes": "mezzotint.tokenizers.places:ByThreeAxes",
        "mixed": "mezzotint.tokenizers.places:Mixed",
    },
    "pool": {
        "attention": "mezzotint.networks.adm_classifier:AttentionPool",
        "adaptive": "mezzotint.networks.adm_classifier:AdaptivePool",
        "spatial": "mezzotint.networks.adm_classifier:SpatialPool",
        "spatial-v2": "mezzotint.networks.adm_classifier:NormedSpatialPool",
    },
    "branch": {
        "transformer": "mezzotint.networks.dimr_branches:TransformerBranch",
        "convolution": "mezzotint.networks.dimr_branches:ConvolutionBranch",
    },
    "norm": {
        "td-layer": "mezzotint.nn.norm:TimeLayer",
        "td-rms": "mezzotint.nn.norm:TimeRMS",
        "rms": "mezzotint.nn.norm:RMS",
        "ada-rms": "mezzotint.nn.norm:FirstRMS",
    },
    "tokenizer": {
        "pixels": "mezzotint.tokenizers.base:Pixels",
        "stored": "mezzotint.stored:Stored",
    },
    "model": {
        "diffusion": "mezzotint.generator:DiffusionConfig",
        "stitched": "mezzotint.stitching:StitchedConfig",
        "classifier": "mezzotint.classifier:ClassifierConfig",
        "masked": "mezzotint.token_generator:MaskedConfig",
        "noisy-classifier": "mezzotint.noisy:NoisyClassifierConfig",
        "tokenizer": "mezzotint.stored:TokenizerModel",
        "ppgn": "mezzotint.plugged.model:PluggedConfig",
    },
    "path": {
        "discrete-vp": "mezzotint.diffusion.paths:DiscreteVP",
        "continuous-vp": "mezzotint.diffusion.paths:ContinuousVP",
        "linear": "mezzotint.diffusion.paths:Linear",
        "cosine": "mezzotint.diffusion.paths:Cosine",
    },
    "schedule": {
        "linear": "mezzotint.diffusion.betas:LinearBetas",
        "cosine": "mezzotint.diffusion.betas:CosineBetas",
        "scaled-linear": "mezzotint.diffusion.betas:ScaledLinearBetas",
    },
    "prediction": {
        "eps": "mezzotint.diffusion.predictions:Eps",
        "x0": "mezzotint.diffusion.predictions:X0",
        "velocity": "mezzotint.diffusion.predictions:Velocity",
        "score": "mezzotint.diffusion.predictions:Score",
        "learned-range": "mezzotint.diffusion.predictions:LearnedRange",
        "fixed-range": "mezzotint.diffusion.predictions:FixedRange",
        "leading": "mezzotint.diffusion.predictions:Leading",
        "multi-scale": "mezzotint.diffusion.multiscale:MultiScale",
    },
    "weighting": {
        "uniform": "mezzotint.diffusion.weightings:Uniform",
        "velocity-space": "mezzotint.diffusion.weightings:VelocitySpace",
        "min-snr": "mezzotint.diffusion.weightings:MinSNR",
        "score-to-velocity": "mezzotint.diffusion.weightings:ScoreToVelocity",
        "likelihood": "mezzotint.diffusion.weightings:Likelihood",
    },
    "grid": {
        "respaced": "mezzotint.diffusion.grids:Respaced",
        "strided": "mezzotint.diffusion.grids:Strided",
        "even": "mezzotint.diffusion.grids:Even",
        "shifted": "mezzotint.diffusion.grids:Shifted",
        "karras": "mezzotint.diffusion.grids:Karras",
        "log-snr": "mezzotint.diffusion.grids:LogSNR",
        "nested": "mezzotint.diffusion.dpm:Nested",
    },
    "scale": {
        "constant": "mezzotint.diffusion.scales:Constant",
        "interval": "mezzotint.diffusion.scales:Interval",
        "power-cosine": "mezzotint.diffusion.scales:PowerCosine",
        "linear": "mezzotint.diffusion.scales:LinearRise",
        "cosine": "mezzotint.diffusion.scales:CosineRise",
        "weighted": "mezzotint.diffusion.scales:Weighted",
    },
    "direction": {
        "plain": "mezzotint.diffusion.directions:Plain",
        "rescaled": "mezzotint.diffusion.directions:Rescaled",
        "projected": "mezzotint.diffusion.directions:Projected",
        "zero-star": "mezzotint.diffusion.directions:ZeroStar",
        "tangential": "mezzotint.diffusion.directions:Tangential",
        "damped": "mezzotint.diffusion.directions:Damped",
    },
    "low-rank": {
        "channels": "mezzotint.networks.adapters:Channels",
        "blocks": "mezzotint.networks.adapters:Blocks",
    },
    "knowledge": {
        "sharpened": "mezzotint.training.knowledge:Sharpened",
        "squared": "mezzotint.training.knowledge:Squared",
    },
    "space": {
        "noise": "mezzotint.diffusion.spaces:NoiseSpace",
        "image": "mezzotint.diffusion.spaces:ImageSpace",
        "velocity": "mezzotint.diffusion.spaces:VelocitySpace",
    },
    "sampler": {
        "ancestral": "mezzotint.diffusion.samplers:Ancestral",
        "ddim": "mezzotint.diffusion.samplers:DDIM",
        "heun": "mezzotint.diffusion.samplers:Heun",
        "runge-kutta": "mezzotint.diffusion.solvers:RungeKutta",
        "dopri5": "mezzotint.diffusion.solvers:Dopri5",
        "euler-maruyama": "mezzotint.diffusion.sde:EulerMaruyama",
        "dpm-solver": "mezzotint.diffusion.dpm:DPMSolver",
        "dpm-solver-multistep": "mezzotint.diffusion.dpm:DPMSolverMultistep",
    },
    "allocation": {
        "count": "mezzotint.diffusion.allocation:Count",
        "official": "mezzotint.diffusion.allocation:Official",
        "official-pair": "mezzotint.diffusion.allocation:OfficialPair",
        "official-list": "mezzotint.diffusion.allocation:OfficialList",
        "latent-diffusion": "mezzotint.diffusion.allocation:LatentDiffusion",
        "diffusers": "mezzotint.diffusion.allocation:Diffusers",
        "lcm": "mezzotint.diffusion.allocation:LCM",
    },
    "rule": {
        "euler": "mezzotint.diffusion.ode:Euler",
        "midpoint": "mezzotint.diffusion.ode:Midpoint",
        "heun2": "mezzotint.diffusion.ode:Heun2",
        "heun3": "mezzotint.diffusion.ode:Heun3",
        "rk4": "mezzotint.diffusion.ode:RK4",
    },
    "walk": {"langevin": "mezzotint.plugged.walk:Walk"},
    "stride": {
        "plain": "mezzotint.diffusion.strides:Plain",
        "mean-abs": "mezzotint.diffusion.strides:MeanAbs",
    },
    "reading": {
        "log-softmax": "mezzotint.diffusion.conditions:LogSoftmax",
        "one-hot": "mezzotint.diffusion.conditions:OneHot",
    },
    "bounds": {
        "none": "mezzotint.plugged.walk:Unbounded",
        "between": "mezzotint.plugged.walk:Between",
        "seen": "mezzotint.plugged.walk:Seen",
    },
    "start": {
        "normal": "mezzotint.plugged.walk:Normal",
        "drawn": "mezzotint.plugged.walk:Drawn",
    },
    "code-prior": {
        "none": "mezzotint.plugged.walk:NoPrior",
        "reconstruction": "mezzotint.plugged.walk:Reencoded",
        "autoencoder": "mezzotint.plugged.walk:Autoencoded",
        "denoiser": "mezzotint.plugged.walk:Denoised",
    },
    "diffusion": {
        "constant": "mezzotint.diffusion.sde:ConstantRate",
        "sbdm": "mezzotint.diffusion.sde:SBDMRate",
        "sigma": "mezzotint.diffusion.sde:SigmaRate",
        "linear": "mezzotint.diffusion.sde:LinearRate",
        "decreasing": "mezzotint.diffusion.sde:DecreasingRate",
        "increasing-decreasing": "mezzotint.diffusion.sde:IncreasingDecreasingRate",
    },
    "sde-step": {
        "euler": "mezzotint.diffusion.sde:EulerStep",
        "heun": "mezzotint.diffusion.sde:HeunStep",
        "mean": "mezzotint.diffusion.sde:MeanStep",
        "drift": "mezzotint.diffusion.sde:DriftStep",
        "tweedie": "mezzotint.diffusion.sde:TweedieStep",
    },
    "target": {
        "data": "mezzotint.diffusion.exponential:Data",
        "noise": "mezzotint.diffusion.exponential:NoiseTarget",
    },
    "correction": {
        "dpm-solver": "mezzotint.diffusion.exponential:Classic",
        "taylor": "mezzotint.diffusion.exponential:Taylor",
    },
    "plan": {
        "fast": "mezzotint.diffusion.dpm:Fast",
        "uniform": "mezzotint.diffusion.dpm:Equal",
    },
    "reveal": {
        "masked": "mezzotint.masked.plan:Masked",
        "revealed": "mezzotint.masked.plan:Revealed",
        "at-least-one": "mezzotint.masked.plan:AtLeastOne",
    },
    "curve": {
        "cosine": "mezzotint.masked.plan:Cosine",
        "arccos": "mezzotint.masked.plan:Arccos",
        "power": "mezzotint.masked.plan:Power",
        "logarithmic": "mezzotint.masked.plan:Logarithmic",
        "exponential": "mezzotint.masked.plan:Exponential",
    },
    "along": {
        "flat": "mezzotint.masked.curves:Flat",
        "ramp": "mezzotint.masked.curves:Ramp",
        "swell": "mezzotint.masked.curves:Swell",
        "inverse": "mezzotint.masked.curves:Inverse",
    },
    "clock": {
        "begun": "mezzotint.masked.curves:Begun",
        "finished": "mezzotint.masked.curves:Finished",
        "end-to-end": "mezzotint.masked.curves:EndToEnd",
        "by-group": "mezzotint.masked.curves:ByGroup",
        "known": "mezzotint.masked.curves:Known",
    },
    "order": {
        "confidence": "mezzotint.masked.order:Confidence",
        "random": "mezzotint.masked.order:Random",
        "raster": "mezzotint.masked.order:Raster",
        "halton": "mezzotint.masked.order:Halton",
    },
    "head": {
        "categorical": "mezzotint.masked.heads:Categorical",
        "perturbed": "mezzotint.masked.heads:Perturbed",
        "diffusion": "mezzotint.masked.diffusion_head:Diffusing",
    },
    "masking": {
        "ratio": "mezzotint.masked.masking:Ratio",
        "each": "mezzotint.masked.masking:Each",
        "beta": "mezzotint.masked.masking:Beta",
        "truncated-normal": "mezzotint.masked.masking:TruncatedNormal",
    },
    "rounding": {
        "up": "mezzotint.masked.masking:Up",
        "nearest": "mezzotint.masked.masking:Nearest",
    },
    "times": {
        "uniform": "mezzotint.diffusion.times:UniformTimes",
        "logit-normal": "mezzotint.diffusion.times:LogitNormalTimes",
        "between": "mezzotint.training.noisy:TimesBetween",
    },
    "pixel-loss": {
        "squared": "mezzotint.training.pixel_losses:Squared",
        "absolute": "mezzotint.training.pixel_losses:Absolute",
        "huber": "mezzotint.training.pixel_losses:Huber",
        "charbonnier": "mezzotint.training.pixel_losses:Charbonnier",
    },
    "perceptual": {
        "lpips": "mezzotint.perceptual:Lpips",
        "efflite0": "mezzotint.perceptual:Lite0",
        "classifier": "mezzotint.perceptual:ByClassifier",
    },
    "augmentation": {
        "mirrored": "mezzotint.training.augment:Mirrored",
        "shifted": "mezzotint.training.augment:Shifted",
        "affine": "mezzotint.training.augment:Affine",
        "colour": "mezzotint.training.augment:Colour",
        "cutout": "mezzotint.training.augment:Cutout",
    },
    "decay": {
        "constant": "mezzotint.training.optim:ConstantRate",
        "cosine": "mezzotint.training.optim:CosineRate",
        "final": "mezzotint.training.optim:FinalRate",
    },
    "data": {
        "emoji": "mezzotint.data.embedded:Emoji",
        "digits": "mezzotint.data.embedded:Digits",
        "prints": "mezzotint.data.prints:Prints",
        "folder": "mezzotint.data.folder:Folder",
        "clips": "mezzotint.data.clips:Clips",
        "unlabelled": "mezzotint.data.unlabelled:Unlabelled",
        "latents": "mezzotint.data.latents:Latents",
        "torchvision": "mezzotint.data.hub:Torchvision",
        "hugging-face": "mezzotint.data.hub:HuggingFace",
    },
}


NUMBERS: Final[dict[str, Callable[[float], dict[str, Any]]]] = {
    "along": lambda value: {"kind": "flat", "value": value},
}
"""What a bare number stands for, in the roles that may be one."""


@cache  # reading the metadata of every installed package takes a while
def _rows(role: str) -> dict[str, str]:
    added = {
        entry.name.removeprefix(f"{role}."): entry.value
        for entry in entry_points(group=GROUP)
        if entry.name.startswith(f"{role}.")
    }
    return added | KINDS[role]


def names(role: str) -> list[str]:
    """Return the kinds of a role, sorted."""
    return sorted(_rows(role))


def find(role: str, kind: str) -> type:
    """Import and return the class behind `role` and `kind`; KeyError if the pair is not listed."""
    module, _, name = _rows(role)[kind].partition(":")
    found: type = getattr(import_module(module), name)
    return found


def kind_of(cls: type) -> str | None:
    """Return the kind under which a class is listed, or None; a class is listed once."""
    path = f"{cls.__module__}:{cls.__qualname__}"
    for role in KINDS:
        for kind, row in _rows(role).items():
            if row == path:
                return kind
    return None
