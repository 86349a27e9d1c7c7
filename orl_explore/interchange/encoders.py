"""Any encoder by its name: `timm:NAME`, `timm:NAME@FILE`, `torchvision:NAME`, or a file of weights."""

from __future__ import annotations

from pathlib import Path

from orl_explore.encoder import Encoder
from orl_explore.errors import OrlError
from orl_explore.pretrained import (
    Pretrained,
    differences_from_paper,
    embedding_widths,
    fetch_timm,
    fetch_torchvision,
    without_projector,
)
from orl_explore.settings import EncoderSettings


def source_file(name: str) -> Path | None:
    """The file that an encoder's name stands for; None where its weights are fetched."""
    source, _, rest = name.partition(":")
    if source == "timm":
        file = rest.partition("@")[2]
        return Path(file) if file else None
    return None if source == "torchvision" else Path(name)


def load_pretrained(name: str, *, image_size: int) -> Pretrained:
    """Load an encoder that takes the place of stage 1's.

    Args:
        name: `timm:NAME` or `torchvision:NAME[.WEIGHTS]`, whose weights are fetched; `timm:NAME@FILE`; or a file: this
            project's encoder.safetensors, or a checkpoint of the authors, torchvision, MoCo, DINO, ...
        image_size: side of the crops that it will see, pixels.

    Raises:
        OrlError: no such model, weights or file; weights that do not fit; a model that cannot see crops of this size.
    """
    source, _, rest = name.partition(":")
    file = source_file(name)
    if source == "timm":
        encoder = _timm_from(file, rest.partition("@")[0]) if file else fetch_timm(rest)
    elif file is None:
        encoder = fetch_torchvision(rest)
    else:
        encoder = _from_file(file, None)
    image_dim, region_dim = embedding_widths(encoder, name, image_size)
    if not encoder.settings.hidden:
        encoder.settings = EncoderSettings(encoder.settings.backbone, hidden=0, dim=region_dim)
    return Pretrained(name, encoder.eval(), image_dim, region_dim, tuple(differences_from_paper(encoder, image_dim)))


def _from_file(path: Path, backbone: str | None) -> Encoder:
    from orl_explore.interchange.weights import read_encoder

    if not path.is_file():
        raise OrlError(
            f"no encoder {str(path)!r}: name a file of weights, timm:NAME, timm:NAME@FILE or torchvision:NAME"
        )
    return read_encoder(path, backbone=backbone)[0]


def _timm_from(path: Path, model: str) -> Encoder:
    """One of timm's models with the weights in a file; ResNets as other projects save them, others as timm does."""
    encoder = without_projector(f"timm:{model}")
    if hasattr(encoder.backbone, "conv1"):
        return _from_file(path, f"timm:{model}")
    from orl_explore.interchange.weights import read_state

    if not path.is_file():
        raise OrlError(f"no file {path} with weights of timm:{model}")
    state = {key.removeprefix("module."): value for key, value in read_state(path).items()}
    expected = encoder.backbone.state_dict()
    head = str(getattr(encoder.backbone, "pretrained_cfg", {}).get("classifier") or "head")
    misfits = [key for key in expected if key not in state or state[key].shape != expected[key].shape]
    misfits += [key for key in state if key not in expected and not key.startswith(f"{head}.")]
    if misfits:
        raise OrlError(f"{path} does not fit timm:{model}: {misfits[0]} is missing, left over or of another shape")
    encoder.backbone.load_state_dict({key: state[key] for key in expected})
    return encoder
