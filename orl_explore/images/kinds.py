"""Which kind of file something is: what is looked at in a folder, what is decoded, and why the rest cannot be used."""

from __future__ import annotations

import functools
import io
import struct
from typing import Any, Final

from orl_explore.images.image_source import printable

JPEG_SUFFIXES: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")
NETPBM_SUFFIXES: Final = (".ppm", ".pgm", ".pbm", ".pnm")
HEIF_SUFFIXES: Final = (".avif", ".heic", ".heif", ".hif")
OTHER_SUFFIXES: Final = (".png", ".apng", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif")
SUFFIXES: Final = JPEG_SUFFIXES + NETPBM_SUFFIXES + OTHER_SUFFIXES + HEIF_SUFFIXES
"""What counts as an image in a folder."""

RAW_SUFFIXES: Final = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf"),
    *(".raf", ".orf", ".rw2", ".rwl", ".pef", ".srw", ".x3f", ".3fr", ".fff"),
    *(".iiq", ".erf", ".mef", ".mos", ".mrw", ".kdc", ".dcr", ".gpr"),
)
UNREAD: Final = {
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".jpm", ".jph"), "JPEG 2000"),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    **dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "Targa"),
    **dict.fromkeys(RAW_SUFFIXES, "camera raw"),
    **dict.fromkeys((".psd", ".psb"), "Photoshop"),
    **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".eps", ".ai"), "PostScript"),
    **dict.fromkeys((".ico", ".cur", ".icns"), "icon"),
    **dict.fromkeys((".fits", ".fit", ".fts"), "FITS"),
    **dict.fromkeys((".dcm", ".dicom"), "DICOM"),
    **dict.fromkeys((".pcx", ".dcx"), "PCX"),
    **dict.fromkeys((".sgi", ".rgb", ".rgba", ".bw"), "SGI"),
    **dict.fromkeys((".xbm", ".xpm"), "X bitmap"),
    **dict.fromkeys(
        (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts"), "video"
    ),
    **dict.fromkeys((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"), "archive"),
    ".pdf": "PDF",
    ".jxl": "JPEG XL",
    ".jls": "JPEG-LS",
    ".exr": "OpenEXR",
    ".hdr": "Radiance HDR",
    ".dds": "DirectDraw",
    ".xcf": "GIMP",
    ".kra": "Krita",
    ".qoi": "QOI",
    ".bpg": "BPG",
    ".flif": "FLIF",
    ".pam": "PAM",
    ".pfm": "PFM",
    ".pcd": "Photo CD",
    ".djvu": "DjVu",
    ".ras": "Sun raster",
    ".emf": "EMF",
    ".wmf": "WMF",
}
"""Suffixes of pictures, or of what may hold some, that are not looked at: counted, so that nobody misses them."""

FORMATS: Final = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM", "AVIF")
"""Formats that Pillow decodes. It knows others, but some run programs (EPS starts Ghostscript)."""

_HEIF: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF: Final = {b"avif", b"avis"}
_OTHER_BRANDS: Final = {b"crx ": "camera raw", b"jxl ": "JPEG XL", b"jp2 ": "JPEG 2000", b"jpx ": "JPEG 2000"}
_BEGINNINGS: Final = (
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"II\xbc", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"\x76\x2f\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"DDS ", "DirectDraw"),
    (b"qoif", "QOI"),
    (b"gimp xcf", "GIMP"),
    (b"SIMPLE  =", "FITS"),
    (b"%PDF", "PDF"),
    (b"<svg", "SVG"),
    (b"\0\0\x01\0", "icon"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
    (b"IIRO", "camera raw"),
    (b"IIU\0", "camera raw"),
    (b"BPG\xfb", "BPG"),
    (b"P7\n", "PAM"),
    (b"\x89HDF", "HDF5"),
    (b"\x1aE\xdf\xa3", "video"),
    (b"PK\x03\x04", "zip archive"),
)
_PICTURES: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n", "PNG"),
    (b"GIF8", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)


class Unusable(Exception):
    """Why a file cannot be used: `kind` or `kind: detail`."""


def unread(name: str) -> str | None:
    """Why a picture with this suffix is not looked at; None where its suffix says nothing of the sort."""
    dot = name.rfind(".")
    kind = UNREAD.get(name[dot:].lower()) if dot > 0 else None
    return f"unsupported kind: {kind} ({name[dot:].lower()})" if kind else None


def picture_kind(data: bytes) -> str | None:
    """What kind of picture begins with these 32 bytes, among those that are read; None: none that is known by them."""
    if own := brands(data):
        return "HEIC" if own & _HEIF else "AVIF" if own & _AVIF else None
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else None
    return next((kind for beginning, kind in _PICTURES if data.startswith(beginning)), None)


def brands(data: bytes) -> set[bytes]:
    """The brands that an ISO media file (HEIC, AVIF, video) gives itself; none of other files."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(max(int.from_bytes(data[:4]), 16), 256, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}


def formats_of(data: bytes) -> tuple[str, ...]:
    """The formats to try on a file, whatever its suffix says."""
    own = brands(data)
    if own & _HEIF or (own and data[8:12] in (b"mif1", b"msf1", b"mif2") and not own & _AVIF):
        return ("HEIF",) if _heif_opener() else ()
    return FORMATS


@functools.cache
def _heif_opener() -> bool:
    """Teach Pillow to read HEIC files; False where `pillow-heif` is missing."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.options.DECODE_THREADS = 1  # files are read side by side already
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return True


def why_not_opened(data: bytes) -> str:
    """Say what a file is that no decoder took: another kind of picture, the beginning of one, or no image."""
    if own := brands(data):
        name = "HEIC" if own & _HEIF else "AVIF" if own & _AVIF else _OTHER_BRANDS.get(data[8:12])
        if name in ("HEIC", "AVIF") or data[8:12] in (b"mif1", b"msf1", b"mif2"):
            name = name or "HEIF"
            if not _boxes_are_whole(data):
                return f"truncated: the {name} file ends before the picture does"
            if name != "AVIF" and not _heif_opener():
                return f"unsupported kind: {name} without the package pillow-heif"
            return f"damaged: {name} file that cannot be decoded"
        return f"unsupported kind: {name or 'video'}"
    if data[128:132] == b"DICM":
        return "unsupported kind: DICOM"
    for beginning, kind in _BEGINNINGS:
        if data.startswith(beginning):
            return f"unsupported kind: {kind}"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return why_no_tiff(data)
    if data[:4] == b"RIFF" and len(data) > 12 and data[8:12] != b"WEBP":
        return f"unsupported kind: RIFF {printable(data[8:12].decode('ascii', 'replace'))}"
    if data.startswith(b"version https://git-lfs"):
        return "not an image: a pointer of Git LFS, whose file is still to be fetched"
    known = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")
    return jpeg_kind(data) or "truncated or damaged" if data.startswith(known) else "not an image"


def jpeg_kind(data: bytes) -> str | None:
    """A kind of JPEG that cannot be read; None of ordinary ones and of other files."""
    at = 2
    while data[:2] == b"\xff\xd8" and data[at : at + 1] == b"\xff" and at + 5 < len(data):
        marker, depth = data[at + 1], data[at + 4]
        if marker == 0xF7:
            return "unsupported kind: JPEG-LS"
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            lossless = marker in (0xC3, 0xC7, 0xCB, 0xCF)
            form = "lossless JPEG" if lossless else f"{depth}-bit JPEG" if depth != 8 else None
            return form and f"unsupported kind: {form}"
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def _boxes_are_whole(data: bytes) -> bool:
    """Whether an ISO media file has its tables and pictures, and does not end within a box."""
    at, names = 0, set()
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        names.add(name)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size == 0:  # it goes on to the end
            return b"meta" in names or b"moov" in names
        if size < 8 or at + size > len(data):
            return False
        at += size
    return at == len(data) and bool(names & {b"meta", b"moov"})


# ---- TIFF ----------------------------------------------------------------------------------------------------------

SAMPLES: Final = {1: "", 2: "signed", 3: "float", 4: "", 5: "complex", 6: "complex"}


def tiff_tags(data: bytes) -> Any:
    """The tags of a TIFF file's first picture, by number; empty where they cannot be read."""
    from PIL import TiffImagePlugin

    try:
        file = io.BytesIO(data)
        header = file.read(16 if data[2:3] == b"+" or data[3:4] == b"+" else 8)
        tags = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(tags.next)
        tags.load(file)
        return dict(tags)
    except Exception:  # damaged files make it raise nearly everything
        return {}


def tiff_kind(tags: Any) -> str:
    """A TIFF picture in words: `float TIFF with 5 bands`."""
    bits = _numbers(tags.get(258)) or (1,)
    bands = int((_numbers(tags.get(277)) or (len(bits),))[0])
    form = SAMPLES.get(int((_numbers(tags.get(339)) or (1,))[0]), "")
    depth = form if (form, bits[0]) in (("float", 32), ("complex", 64)) else f"{bits[0]:.0f}-bit {form}".strip()
    planes = ", plane by plane" if bands > 1 and tags.get(284) == 2 else ""
    return f"{depth} TIFF with {bands} {'band' if bands == 1 else 'bands'}{planes}"


def why_no_tiff(data: bytes) -> str:
    """Tell a TIFF file that ends too early from one of a kind that cannot be read."""
    tags = tiff_tags(data)
    if 256 not in tags or 257 not in tags:
        return "truncated or damaged"
    starts = _numbers(tags.get(273)) or _numbers(tags.get(324))
    lengths = _numbers(tags.get(279)) or _numbers(tags.get(325))
    if not starts or max(a + b for a, b in zip(starts, lengths or (0,) * len(starts), strict=False)) > len(data):
        return "truncated: the file ends before the picture does"
    return f"unsupported kind: {tiff_kind(tags)}"


def _numbers(value: Any) -> tuple[float, ...]:
    """A tag's value or values as numbers; none where it is missing or text."""
    values = value if isinstance(value, tuple) else () if value is None else (value,)
    return tuple(values) if all(isinstance(one, int | float) for one in values) else ()
