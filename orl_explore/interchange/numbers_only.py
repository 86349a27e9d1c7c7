"""Tell checkpoints from other files, and read the tensors of one that also holds objects, without running these.

`torch.load(weights_only=True)` refuses such a file as a whole. Here every class that is not one of a tensor's own is
replaced by an empty one, which takes whatever it is given and does nothing; no module is imported.
"""

from __future__ import annotations

import _compat_pickle
import contextlib
import pickle
import shlex
import sys
import types
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, Final

from orl_explore.errors import OrlError

_TENSORS: Final = {
    ("collections", "OrderedDict"): OrderedDict,
    **{
        ("torch._utils", name): None
        for name in ("_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state")
    },
    **{("torch", name): None for name in ("Size", "device")},
    ("torch.storage", "UntypedStorage"): None,
    ("torch.storage", "TypedStorage"): None,
}
"""What tensors are made of; everything else is left out."""

MAGIC: Final = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
"""What torch before 1.6 began its files with, as a pickled number."""

_HARMLESS: Final = {"collections", "argparse", "pathlib", "datetime", "decimal", "enum", "uuid", "copyreg", "types"}
_HARMLESS_BUILTINS: Final = {"set", "frozenset", "complex", "slice", "range", "bytearray", "object", "dict", "list"}


class Inert:
    """Stands in for an object that is left out."""

    def __new__(cls, *arguments: object, **options: object) -> Inert:
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *arguments: object, **options: object):
        pass

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def __call__(self, *arguments: object, **options: object) -> Inert:
        """Do nothing."""
        return self

    def __hash__(self) -> int:
        return id(self)

    def append(self, value: object) -> None:
        """Lists are filled by this ..."""

    def extend(self, values: object) -> None:
        """... or this ..."""

    def add(self, value: object) -> None:
        """... and sets by this."""


def short(error: Exception) -> str:
    """An error in one line."""
    return (" ".join(str(error).split()) or type(error).__name__)[:160]


def refuse_others(path: Path) -> None:
    """Refuse what torch.save has not written, before anybody is told that it could run code.

    Raises:
        OrlError: says what it is, as far as that is known.
    """
    head = b""
    with contextlib.suppress(OSError), path.open("rb") as file:
        head = file.read(512)
    if head and not head.startswith((b"PK", b"\x80")) and head[257:262] != b"ustar":
        known = {b"version": "a pointer of Git LFS, not the file", b"<": "a web page"}
        what = next((known[start] for start in known if head.startswith(start)), "nothing that torch.save writes")
        raise OrlError(f"{path} is no checkpoint, or is damaged (it is {what}): fetch it again")
    if head.startswith(b"\x80") and MAGIC not in head:
        raise is_pickle(path)


def is_pickle(path: Path) -> OrlError:
    """The refusal of a plain pickle."""
    return OrlError(
        f"{path} is a pickle, which can run code when it is read: export it as .safetensors or .pth (torch.save)"
    )


def refuse_compressed(path: Path) -> None:
    """torch.save never compresses: a file that does can unpack to any size.

    Raises:
        OrlError: it is compressed, damaged, or a TorchScript program.
    """
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise OrlError(f"{path} is no checkpoint, or is damaged ({short(error)}): fetch it again") from None
    if any(entry.filename.endswith("constants.pkl") for entry in entries):
        raise OrlError(
            f"{path} is a TorchScript program, which could run code, and is not read. Where you trust it:"
            f" {conversion(path, script=True)}"
        )
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > entry.compress_size:
            raise OrlError(f"{path} has the compressed entry {entry.filename}, and torch.save writes none: refuse it")


def conversion(path: Path, *, script: bool = False) -> str:
    """What to type where a file is trusted that is not read: it makes one beside it, `.weights.pth`, of tensors alone.

    Args:
        path: of `torch.save`: a module, or mappings that hold modules or tensors.
        script: it is a TorchScript program.
    """
    source, target = repr(str(path)), repr(str(path.with_suffix(".weights.pth")))
    if script:
        code = f"import torch; torch.save(torch.jit.load({source}, map_location='cpu').state_dict(), {target})"
    else:
        code = (
            "import torch; M, D, T = torch.nn.Module, dict, torch.Tensor; f = lambda v: f(v.state_dict()) if"
            " isinstance(v, M) else {k: f(x) for k, x in v.items() if isinstance(x, (M, D, T))} if isinstance(v, D)"
            f" else v; c = f(torch.load({source}, weights_only=False, map_location='cpu'));"
            f" torch.save(c.get('state_dict', c), {target})"
        )
    return f'python -c "{code}"' if not set(code) & set('"$`\\!') else shlex.join(["python", "-c", code])


def read_numbers(path: Path) -> tuple[Any, dict[str, int]]:
    """Read a checkpoint of `torch.save` with objects left out.

    Returns:
        Its content, `Inert` where an object stood; and how often each class was left out.

    Raises:
        ValueError: it is no zip file of `torch.save`, or asks for something that no checkpoint needs.
    """
    import torch

    if not zipfile.is_zipfile(path):
        raise ValueError("it is in the format of torch before 1.6")
    with zipfile.ZipFile(path) as archive:
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            raise ValueError("it is a TorchScript program")
    left_out: Counter[str] = Counter()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            # torch.save writes the names of Python 2: `__builtin__`, and `_codecs.encode` for bytes.
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
            if (module, name) == ("_codecs", "encode"):
                return Inert  # of bytes, which belong to something that is counted
            if (module, name) in _TENSORS:
                return _TENSORS[module, name] or getattr(sys.modules[module], name)
            if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
                return kind
            top = module.partition(".")[0]
            known = top in sys.stdlib_module_names and top not in _HARMLESS
            if (known and not (top == "builtins" and name in _HARMLESS_BUILTINS)) or top == "torch":
                raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no checkpoint needs")
            left_out[f"{module}.{name}"] += 1
            return Inert

    def load(file: Any, **options: Any) -> Any:
        return Unpickler(file, **options).load()

    stand_in = types.ModuleType("numbers_only")
    stand_in.__dict__.update(Unpickler=Unpickler, load=load, PickleError=pickle.PickleError)
    try:
        content = torch.load(path, map_location="cpu", pickle_module=stand_in, weights_only=False)
    except Exception as error:  # torch and pickle raise nearly everything
        raise ValueError(" ".join(str(error).split())[:200] or type(error).__name__) from None
    return content, dict(left_out)
