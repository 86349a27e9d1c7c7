"""Read the tensors of a checkpoint that also holds objects of some framework, without running anything of these.

`torch.load(weights_only=True)` refuses such a file as a whole. Here every class that is not one of a tensor's own is
replaced by an empty one, which takes whatever it is given and does nothing; no module is imported.
"""

from __future__ import annotations

import _compat_pickle
import pickle
import sys
import types
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any, Final

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
