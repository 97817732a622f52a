"""NVIDIA's run-time compiler through ctypes. As a script it is a process of its own, which imports nothing else of the
package: `python compiling.py LIBRARY KIND OPTION...` reads CUDA C and writes machine code (CUBIN) or assembly (PTX).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence

MOST_BYTES = 8 << 30


class Refused(Exception):
    """What the compiler says of a source that it does not take, or of itself."""


class Compiler:
    """A loaded library. Raises OSError where it cannot be loaded.

    Attributes:
        version: major and minor, of the toolkit that it is from.
    """

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path)
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)), "its version")
        self.version = (major.value, minor.value)

    def compiled(self, source: bytes, kind: str, options: Sequence[str]) -> bytes:
        """What a source becomes; `kind` is CUBIN or PTX. Raises Refused."""
        library, program = self._library, ctypes.c_void_p()
        made = library.nvrtcCreateProgram(ctypes.byref(program), source, b"orebit.cu", 0, None, None)
        self._check(made, "a program")
        try:
            texts = (ctypes.c_char_p * len(options))(*(text.encode() for text in options))
            if library.nvrtcCompileProgram(program, len(options), texts):
                raise Refused(self._log(program)[-2000:])
            size = ctypes.c_size_t()
            self._check(getattr(library, f"nvrtcGet{kind}Size")(program, ctypes.byref(size)), "its size")
            image = ctypes.create_string_buffer(size.value)
            self._check(getattr(library, f"nvrtcGet{kind}")(program, image), "its result")
            return image.raw
        finally:
            library.nvrtcDestroyProgram(ctypes.byref(program))

    def _log(self, program: ctypes.c_void_p) -> str:
        size = ctypes.c_size_t()
        self._library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(max(size.value, 1))
        self._library.nvrtcGetProgramLog(program, text)
        return text.value.decode(errors="replace")

    def _check(self, status: int, what: str) -> None:
        if status:
            raise Refused(f"it cannot give {what}: {self._library.nvrtcGetErrorString(status).decode()}")


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    try:
        made = Compiler(sys.argv[1]).compiled(sys.stdin.buffer.read(), sys.argv[2], sys.argv[3:])
    except Refused as error:
        raise SystemExit(str(error)) from error
    sys.stdout.buffer.write(made)


if __name__ == "__main__":
    main()
