"""Task files: exact amounts, exact durations, flags over file over defaults, and refusals that name file and key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orebit.chain.types import FLAG_GATED, FLAG_OPEN
from orebit.errors import ConfigError
from orebit.strategy.quantities import (
    format_duration,
    parse_basis_points,
    parse_duration,
    parse_factor,
    parse_percent,
    parse_tokens,
)
from orebit.strategy.terms import TaskFile, load_task_file

ORE = 10**18


def write(folder: Path, text: str) -> Path:
    path = folder / "task.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "wei"),
    [("0.5", ORE // 2), (3, 3 * ORE), ("12 TAI", 12 * ORE), ("0.000000000000000001", 1), ("0", 0)],
)
def test_amounts_are_exact(text: object, wei: int) -> None:
    assert parse_tokens(text) == wei


@pytest.mark.parametrize("text", ["0.0000000000000000001", "-1", "many", "", "nan", "inf", True, 0.1, "79228162515"])
def test_amounts_that_are_not(text: object) -> None:
    with pytest.raises(ConfigError):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20s", 20), ("10m", 600), ("1h30m", 5400), ("0.5h", 1800), (45, 45), ("45", 45), ("2 d", 172800)],
)
def test_durations(text: object, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["1.5s", "s", "ten", "5m!", -1, 1.5, True, ""])
def test_durations_that_are_not(text: object) -> None:
    with pytest.raises(ConfigError):
        parse_duration(text)


def test_shares_factors_percentages() -> None:
    assert parse_basis_points("25%") == parse_basis_points(0.25) == 2_500
    assert parse_factor("6x") == parse_factor(6) == 600
    assert parse_percent("150%") == parse_percent("1.5x") == 150
    for parse, value in (
        (parse_basis_points, "0.001%"),
        (parse_basis_points, 2),
        (parse_factor, "0.001"),
        (parse_percent, "1.5"),
    ):
        with pytest.raises(ConfigError):
            parse(value)


def test_format_duration() -> None:
    assert [format_duration(seconds) for seconds in (0, 20, 185, 7200)] == ["0 s", "20 s", "3 min 5 s", "2 h"]


def test_flags_win_over_file_and_file_over_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, 'job = "train.py:job"\n[terms]\nprice = "0.5"\ncompute = "20s"\n')
    settings = load_task_file(path, {"terms.price": "2", "run.depth": 3, "terms.draw": None})
    assert settings.job == "train.py:job"
    assert settings.terms.price == 2 * ORE
    assert settings.terms.compute == 20
    assert settings.run.depth == 3
    assert settings.training_terms.draw_bp == 2_500


def test_single_shards_and_ranges_have_their_own_defaults() -> None:
    single = TaskFile().training_terms
    ranged = load_task_file(None, {"run.grain": 8}).training_terms
    assert (single.draw_bp, single.stake_factor, single.block_log2) == (2_500, 600, 0)
    assert (ranged.draw_bp, ranged.stake_factor, ranged.block_log2) == (10_000, 200, 0)


def test_averaging_is_an_open_task_at_a_low_price() -> None:
    terms = load_task_file(None, {"terms.price": "5", "terms.compute": "20s"}).averaging_terms
    assert terms.price == ORE // 20
    assert terms.compute_seconds == 20
    assert terms.flags == FLAG_OPEN | FLAG_GATED
    assert terms.draw_bp == 0


def test_settings_survive_the_journal() -> None:
    flags = {"terms.price": "0.5", "terms.draw": "12.5%", "terms.block": "all", "run.grain": 2, "run.call": 0.0}
    settings = load_task_file(None, flags)
    restored = TaskFile.restore(json.loads(json.dumps(settings.plain())))
    assert restored == settings
    assert restored.training_terms == settings.training_terms


def test_calls_replace_the_chains_draw() -> None:
    terms = load_task_file(None, {"run.call": "25%", "terms.draw_delay": 3}).training_terms
    assert terms.draw_bp == 0
    with pytest.raises(ConfigError, match="draw_delay"):
        load_task_file(None, {"run.call": "25%"})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[terms]\npriec = 1\n", 'unknown setting "terms.priec"'),
        ("colour = 1\n", 'unknown setting "colour"'),
        ('[terms]\nprice = "lots"\n', "terms.price"),
        ("[terms]\nblock = 3\n", "terms.block"),
        ('[terms]\nwatcher = "0x12"\n', "terms.watcher"),
        ("[run]\ngrain = 65\n", "run.grain"),
        ("[run\n", "not valid TOML"),
    ],
)
def test_refusals_name_file_and_key(tmp_path: Path, text: str, named: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_task_file(path)
    assert str(path) in str(caught.value)
    assert named in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml"):
        load_task_file(tmp_path / "nothing.toml")
