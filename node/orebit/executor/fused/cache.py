"""Compiled kernels on disk, by program and by whatever their code depends on; checked before they are used.

A file holds the SHA-256 of what follows: the hash of the kernels' text, then the object file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_cache_path

from orebit.executor.fused.compiler import Code, compile_object, machine, module_text
from orebit.executor.fused.nest import Kernel
from orebit.program.graph import Program

_HASH = 32
FILES = 1024


def folder() -> Path:
    """Where compiled kernels are kept: OREBIT_CACHE, or the platform's own place for caches."""
    named = os.environ.get("OREBIT_CACHE")
    return (Path(named) if named else user_cache_path("orebit")) / "kernels"


def compiled(program: Program, kernels: Mapping[str, Kernel]) -> Code:
    """The loaded kernels of a program, from the cache if it has them."""
    text = module_text([kernels[name] for name in sorted(kernels)])
    wanted = hashlib.sha256(text.encode()).digest()
    path = folder() / f"{program.root.hex()[:32]}-{machine().identity[:16]}"
    image = read(path, wanted)
    if image is None:
        image = compile_object(text)
        write(path, wanted, image)
    return Code(image, kernels)


def read(path: Path, wanted: bytes) -> bytes | None:
    """What `write` kept under this hash; None where there is nothing, something else, or something damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    body = data[_HASH:]
    if hashlib.sha256(body).digest() != data[:_HASH] or body[:_HASH] != wanted:
        return None
    return body[_HASH:]


def write(path: Path, wanted: bytes, image: bytes) -> None:
    """Keeps a compiled program if the disk lets us; a cache that cannot be written only costs time."""
    body = wanted + image
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(hashlib.sha256(body).digest() + body)
        Path(file.name).replace(path)
        _drop_oldest(path.parent)
    except OSError:
        return


def _drop_oldest(place: Path) -> None:
    kept = sorted(place.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in kept[FILES:]:
        path.unlink(missing_ok=True)
