"""Machine code for GPUs on disk, by program, device and compiler; checked before it is used."""

from __future__ import annotations

import hashlib

from orebit.executor.cuda.device import Device
from orebit.executor.fused.cache import folder, read, write
from orebit.program.graph import Program


def compiled(device: Device, program: Program, source: str) -> bytes:
    """The machine code of a program's kernels, from the cache if it has that of this very source."""
    wanted = hashlib.sha256(source.encode()).digest()
    whose = hashlib.sha256(device.identity.encode()).hexdigest()
    path = folder() / f"{program.root.hex()[:32]}-{whose[:16]}"
    image = read(path, wanted)
    if image is None:
        image = device.compile(source)
        write(path, wanted, image)
    return image
