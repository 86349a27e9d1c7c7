"""Pictures of many kinds, written byte by byte: TIFF files of any bands, PNG files of 16 bits."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pyarrow as pa


def tiff(
    pixels, *, photometric=2, extra=(), form=1, orientation=1, bits=None, more=(), planes=False, zstd=False
) -> bytes:
    """An uncompressed little-endian TIFF file of any number of bands, (H, W) or (H, W, bands)."""
    height, width = pixels.shape[:2]
    bands = 1 if pixels.ndim == 2 else pixels.shape[2]
    parts = [pixels[..., band].tobytes() for band in range(bands)] if planes else [pixels.tobytes()]
    if zstd:
        parts = [pa.compress(part, codec="zstd", asbytes=True) for part in parts]
    entries = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [bits or 8 * pixels.itemsize] * bands),
        259: ("H", [50000 if zstd else 1]),
        262: ("H", [photometric]),
        273: ("I", [0] * len(parts)),
        274: ("H", [orientation]),
        277: ("H", [bands]),
        278: ("I", [height]),
        279: ("I", [len(part) for part in parts]),
        284: ("H", [2 if planes else 1]),
        339: ("H", [form] * bands),
        **({338: ("H", list(extra))} if extra else {}),
        **dict(more),
    }
    codes = {"H": 3, "I": 4, "f": 11, "d": 12}
    after = 8 + 2 + 12 * len(entries) + 4
    long = {tag: struct.calcsize(f"<{len(values)}{form}") for tag, (form, values) in entries.items()}
    start = after + sum(size + size % 2 for size in long.values() if size > 4)
    entries[273] = ("I", [start + sum(len(part) for part in parts[:n]) for n in range(len(parts))])
    table, rest = b"", b""
    for tag, (form_, values) in sorted(entries.items()):
        raw = struct.pack(f"<{len(values)}{form_}", *values)
        if len(raw) > 4:
            place = struct.pack("<I", after + len(rest))
            rest += raw + b"\0" * (len(raw) % 2)
            raw = place
        table += struct.pack("<HHI", tag, codes[form_], len(values)) + raw.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4) + rest + b"".join(parts)


def ramp(top: float, dtype: str, bands: int = 0) -> np.ndarray:
    """64 x 48 values from 0 to `top`, row by row."""
    gray = np.linspace(0, top, 48 * 64).reshape(48, 64)
    return (np.stack([gray] * bands, -1) if bands else gray).astype(dtype)


def png16(pixels: np.ndarray) -> bytes:
    """A PNG file with 16 bits a sample: gray, gray and alpha, RGB or RGBA."""
    height, width, channels = pixels.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
