"""Turns the bytes of a picture file into RGB, and says what had to be done to it.

Grey, palette, 16-bit, transparent, rotated and animated files all become plain 8-bit RGB; each
departure is a note. What cannot be used raises `Unusable` with the reason in words.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

MAX_PIXELS = 89_478_485
"""Pillow's own limit against decompression bombs: a quarter of a gigabyte of RGB."""

_EXIF_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"


class Unusable(Exception):
    """A file that is not a usable picture; the text is the reason."""


@dataclass(frozen=True)
class Decoded:
    """A picture in RGB, and what the file was."""

    image: Image.Image
    mode: str
    notes: tuple[str, ...]


def decode(data: bytes, background: str) -> Decoded:
    """Decode a picture file.

    Args:
        data: the content of the file.
        background: colour behind transparent pixels, as a name or "#rrggbb".

    Raises:
        Unusable: not a picture, cut short, too large, or a single pixel.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            _check_extent(image)
            notes = _frames(image)
            image.load()
            mode = image.mode
            notes += _orientation(image)
            upright = ImageOps.exif_transpose(image)
    except Unusable:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise Unusable(f"huge: more than {MAX_PIXELS:,} pixels; scale it down first") from None
    except UnidentifiedImageError:
        raise Unusable("not a picture in any format that Pillow reads") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error) as e:
        raise Unusable(f"damaged or cut short ({' '.join(str(e).split())})") from None
    rgb, more = to_rgb(upright, background)
    return Decoded(rgb, mode, notes + more + _sixteen_bit_png(data))


def _check_extent(image: Image.Image) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise Unusable(
            f"huge: {width} x {height} is more than {MAX_PIXELS:,} pixels; scale it down first"
        )
    if width * height == 1:
        raise Unusable("1 x 1 pixel, which shows nothing; expected at least 2 pixels")


def _frames(image: Image.Image) -> tuple[str, ...]:
    frames = getattr(image, "n_frames", 1)
    if frames == 1:
        return ()
    image.seek(0)
    return ("animated: the first frame was taken",)


def _orientation(image: Image.Image) -> tuple[str, ...]:
    turned = image.getexif().get(_EXIF_ORIENTATION, 1) not in (0, 1)
    return ("turned upright by its EXIF orientation",) if turned else ()


def _sixteen_bit_png(data: bytes) -> tuple[str, ...]:
    """Note colour PNGs of 16 bits, of which Pillow hands out the high byte only."""
    colour = data.startswith(_PNG) and len(data) > 25 and data[25] in (2, 4, 6)
    return ("16 bits a channel: scaled to 8",) if colour and data[24] == 16 else ()


def to_rgb(image: Image.Image, background: str) -> tuple[Image.Image, tuple[str, ...]]:
    """Return the picture in RGB on `background`, and notes on how."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        below = Image.new("RGBA", layer.size, (*ImageColor.getrgb(background)[:3], 255))
        flat = Image.alpha_composite(below, layer).convert("RGB")
        return flat, (f"transparent: laid on {background}",)
    return image.convert("RGB"), _WORDS.get(image.mode, ())


def _deep_grey(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Scale 16-bit grey, 0..65535, to 0..255; deeper numbers have no known white."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 65535:
        raise Unusable("values outside 0..65535, so white is unknown; save it with 8 or 16 bits")
    if np.issubdtype(np.asarray(image).dtype, np.floating):
        raise Unusable("floating-point pixels, so white is unknown; save it with 8 or 16 bits")
    grey = np.rint(values / 257).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB"), ("16-bit grey: scaled to 8, repeated in RGB",)


_WORDS = {
    "1": ("black and white: repeated in RGB",),
    "L": ("grey: repeated in RGB",),
    "P": ("palette: looked up",),
    "CMYK": ("CMYK: converted to RGB",),
}

__all__ = ["Decoded", "Unusable", "decode", "to_rgb"]
