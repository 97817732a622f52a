"""Builds the native library with the package where there is a C compiler; all else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

SOURCES = "node/orebit/executor/native/csrc"

setup(
    ext_modules=[
        Extension(
            "orebit.executor.native._kernels",
            sources=sorted(glob(f"{SOURCES}/*.c")),
            depends=sorted(glob(f"{SOURCES}/*.h")),
            # No contraction, ever: a fused multiply-add would change bits.
            extra_compile_args=["-O3", "-std=c11", "-ffp-contract=off", "-fvisibility=hidden", "-pthread", "-g0"],
            extra_link_args=["-pthread"],
            # It is loaded through ctypes and touches no Python: one file serves every version.
            py_limited_api=True,
            # Without a compiler the package installs all the same, and the reference executor is used.
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
