"""The table of contents of the library: role -> kind -> "module:Class".

Strings only, so that reading it imports nothing. Other packages add rows through the entry-point
group `mezzotint.kinds`, whose entries are named "role.kind".
"""

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

GROUP: Final = "mezzotint.kinds"

KINDS: Final[dict[str, dict[str, str]]] = {
    "network": {
        "dit": "mezzotint.networks.dit:DiTConfig",
        "lit": "mezzotint.networks.lit:LiTConfig",
        "dico": "mezzotint.networks.dico:DiCoConfig",
        "uvit": "mezzotint.networks.uvit:UViTConfig",
        "adm": "mezzotint.networks.adm:ADMConfig",
        "dimr": "mezzotint.networks.dimr:DiMRConfig",
        "residual": "mezzotint.networks.classifier:ResidualConfig",
        "depthwise": "mezzotint.networks.classifier:DepthwiseConfig",
        "committee": "mezzotint.networks.classifier:CommitteeConfig",
        "adm-classifier": "mezzotint.networks.adm_classifier:ADMClassifierConfig",
        "kl": "mezzotint.tokenizers.kl:KLConfig",
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
        "classifier": "mezzotint.classifier:ClassifierConfig",
        "tokenizer": "mezzotint.stored:TokenizerModel",
    },
    "path": {
        "discrete-vp": "mezzotint.diffusion.paths:DiscreteVP",
        "continuous-vp": "mezzotint.diffusion.paths:ContinuousVP",
        "linear": "mezzotint.diffusion.paths:Linear",
        "cosine": "mezzotint.diffusion.paths:Cosine",
    },
    "schedule": {
        "linear": "mezzotint.diffusion.paths:LinearBetas",
        "cosine": "mezzotint.diffusion.paths:CosineBetas",
        "scaled-linear": "mezzotint.diffusion.paths:ScaledLinearBetas",
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
        "constant": "mezzotint.diffusion.guidance:Constant",
        "interval": "mezzotint.diffusion.guidance:Interval",
        "power-cosine": "mezzotint.diffusion.guidance:PowerCosine",
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
    "rule": {
        "euler": "mezzotint.diffusion.ode:Euler",
        "midpoint": "mezzotint.diffusion.ode:Midpoint",
        "heun2": "mezzotint.diffusion.ode:Heun2",
        "heun3": "mezzotint.diffusion.ode:Heun3",
        "rk4": "mezzotint.diffusion.ode:RK4",
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
    "times": {
        "uniform": "mezzotint.training.objectives:UniformTimes",
        "logit-normal": "mezzotint.training.objectives:LogitNormalTimes",
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
        "torchvision": "mezzotint.data.hub:Torchvision",
        "hugging-face": "mezzotint.data.hub:HuggingFace",
    },
}


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
