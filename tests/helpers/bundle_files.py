"""Bundles for tests: packed again with other entries."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path


def repack(path: Path, *, signed: bool = False, **changes: object) -> Path:
    """Write a bundle again with entries replaced (bytes), added or left out (None), or the whole compressed.

    With `signed`, the manifest gets the hashes of the new entries, as whoever forges a bundle would do.
    """
    compression = zipfile.ZIP_DEFLATED if changes.pop("compress", False) else zipfile.ZIP_STORED
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries |= changes.pop("entries", {})
    if signed:
        manifest = json.loads(entries["manifest.json"])
        for name, facts in manifest["files"].items():
            if isinstance(facts, dict):
                facts["blake2b"] = hashlib.blake2b(entries[name], digest_size=16).hexdigest()
        entries["manifest.json"] = json.dumps(manifest)
    out = path.with_name("other.zip")
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, data in entries.items():
            if data is not None:
                archive.writestr(name, data)
    return out
