"""What a node may compute on: the processor, a GPU, or whatever is fastest."""

from __future__ import annotations

from pathlib import Path

import pytest

from orebit.daemon.config import load_config
from orebit.errors import ConfigError
from orebit.executor import selection
from orebit.executor.conformance import Factory
from orebit.executor.hardware import Hardware
from orebit.executor.reference import ReferenceExecutor
from orebit.executor.selection import Unavailable, conforming

NODE = 'rpc = ["http://127.0.0.1:8545"]\npublic_url = "http://127.0.0.1:7117"\n'


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of executors as they are tried; only the reference one is here."""
    names: list[str] = []

    def only_reference(name: str) -> Factory | str:
        names.append(name)
        return ReferenceExecutor if name == "reference" else "it is not here"

    monkeypatch.setattr(selection, "examined", only_reference)
    return names


def test_the_processor_alone_leaves_the_gpu_out(tried: list[str], tmp_path: Path) -> None:
    assert conforming(tmp_path, Hardware.CPU) is ReferenceExecutor
    assert tried == ["fused", "reference"]


def test_by_default_the_gpu_comes_first(tried: list[str], tmp_path: Path) -> None:
    assert conforming(tmp_path) is ReferenceExecutor
    assert tried == ["cuda", "fused", "reference"]


def test_nothing_stands_in_for_the_gpu_that_is_asked_for(tried: list[str], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match='device = "cuda"'):
        conforming(tmp_path, Hardware.CUDA)
    assert tried == ["cuda"]


@pytest.mark.parametrize("device", list(Hardware))
def test_node_toml_says_what_to_compute_on(tmp_path: Path, device: Hardware) -> None:
    (tmp_path / "node.toml").write_text(f'{NODE}device = "{device.value}"\n')
    assert load_config(tmp_path, {}).device is device


def test_another_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.toml").write_text(f'{NODE}device = "tpu"\n')
    with pytest.raises(ConfigError, match="device"):
        load_config(tmp_path, {})
