"""The reference of drawing a view: with Pillow and torchvision."""

from __future__ import annotations

from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms.v2 import functional as tvf

from orl_explore.views.cropping import crop_image
from orl_explore.views.parameters import SOLARIZE_THRESHOLD, ViewParameters

_COLOR_STEPS = {
    "brightness": tvf.adjust_brightness,
    "contrast": tvf.adjust_contrast,
    "saturation": tvf.adjust_saturation,
    "hue": tvf.adjust_hue,
}


def render_view(
    image: Image.Image, parameters: ViewParameters, size: int, interpolation: str = "bilinear"
) -> Image.Image:
    """Apply a view's parameters to an RGB image; returns an RGB image of size x size."""
    view = crop_image(image, parameters.box, size, interpolation)
    if parameters.flip:
        view = ImageOps.mirror(view)
    for name, factor in parameters.color_steps:
        if (name, factor) != ("hue", 0.0):  # no shift; the way to HSV and back would round
            view = _COLOR_STEPS[name](view, factor)
    if parameters.gray:
        view = ImageOps.grayscale(view).convert("RGB")
    if parameters.blur_sigma is not None:
        view = view.filter(ImageFilter.GaussianBlur(parameters.blur_sigma))
    if parameters.solarize:
        view = ImageOps.solarize(view, SOLARIZE_THRESHOLD)
    return view
