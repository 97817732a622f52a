"""LLVM assembly to machine code. As a script it is a process of its own, which imports nothing else of the package:
`python assembler.py TRIPLE CPU FEATURES` reads the text and writes an object file.

Multiplications and additions are never contracted: LLVM does so only for instructions that allow it, and none does.
"""

from __future__ import annotations

import sys

import llvmlite.binding as llvm

MOST_BYTES = 4 << 30


def target_machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    """The target of a processor, named as LLVM does."""
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small"
    )


def object_file(text: str, triple: str, cpu: str, features: str) -> bytes:
    """Machine code of one module, as an object file."""
    module = llvm.parse_assembly(text)
    target = target_machine(triple, cpu, features)
    module.triple, module.data_layout = triple, str(target.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = options.slp_vectorization = False
    options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(target, options)
    builder.getModulePassManager().run(module, builder)
    return bytes(target.emit_object(module))


def initialise() -> None:
    """Before anything else."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def main() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MOST_BYTES, MOST_BYTES))
    initialise()
    sys.stdout.buffer.write(object_file(sys.stdin.read(), *sys.argv[1:4]))


if __name__ == "__main__":
    main()
