"""A job small enough to follow by hand: each worker adds its own constant to x every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orebit.numerics.types import DType
from orebit.program.averaging import average_program
from orebit.program.builder import Builder
from orebit.program.descriptor import Source
from orebit.program.expression import ExpressionBuilder
from orebit.program.graph import Program
from orebit.store.local import LocalStore
from orebit.strategy.spec import JobSpec, ModelTensor, TensorPlace
from orebit.strategy.terms import load_task_file

FLAGS: dict[str, Any] = {
    "terms.price": "1",
    "terms.compute": 600,
    "terms.reveal": 600,
    "terms.challenge": 60,
    "terms.move": 5,
    "terms.draw": 0,
    "averaging.price": "0.01",
    "run.poll": 0.02,
}


def adding() -> Program:
    """step += 1; x += c; loss = x[0]."""
    builder = Builder()
    step = builder.state(DType.I64, (), "step")
    x = builder.state(DType.F32, (4,), "x")
    loss = builder.state(DType.F32, (), "loss")
    constant = builder.constant(DType.F32, (4,), "c")
    one = ExpressionBuilder([DType.I64])
    plus = ExpressionBuilder([DType.F32, DType.F32], 1)
    keep = ExpressionBuilder([DType.F32])
    return builder.finish(
        [
            builder.map(one.finish(one.operand(0) + 1), [step]),
            builder.map(plus.finish(plus.operand(0) + plus.operand(1)), [x, constant]),
            builder.map(keep.finish(keep.operand(0) + 1.0), [loss]),
        ]
    )


def toy_job(store: LocalStore, *, rounds: int = 2, flags: dict[str, Any] | None = None) -> JobSpec:
    """Two workers that add 1 and 3 for 4 steps: the average grows by 8 a round."""
    program = adding()
    specs = program.specs(Source.STATE)
    average = average_program(specs, 2)
    for made in (program, average):
        store.put_program(made.root, made.encode())
    return JobSpec(
        name="toy",
        program=program.root,
        averaging=average.root,
        state_names=("step", "x", "loss"),
        model=(ModelTensor("x", 1, "float32"),),
        evaluation=None,
        places=tuple(TensorPlace(int(spec.dtype), spec.shape) for spec in specs),
        state=_put(store, [np.zeros((), np.int64), np.zeros(4, np.float32), np.zeros((), np.float32)]),
        constants=tuple(_put(store, [np.full(4, amount, np.float32)]) for amount in (1, 3)),
        parameters=(((), ()),) * rounds,
        loss=2,
        steps=4,
        interval=2,
        settings=load_task_file(None, FLAGS | (flags or {})).plain(),
    )


def _put(store: LocalStore, arrays: Sequence[Any]) -> tuple[bytes, ...]:
    return tuple(store.put_tensor(DType.from_numpy(array.dtype), array.shape, array).root for array in arrays)
