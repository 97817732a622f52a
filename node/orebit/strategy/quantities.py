"""How people write amounts, durations and shares, parsed exactly: no float ever touches money."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from orebit.chain.token import format_amount, parse_amount
from orebit.errors import ConfigError

MAX_AMOUNT = 2**96 - 1
"""Amounts are 96-bit on-chain."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_tokens(value: object) -> int:
    """Wei of TokenAI from human units: "0.5", "12 TAI", 3. Raises ConfigError if inexact or beyond 96 bits."""
    if isinstance(value, bool | float):
        raise ConfigError(f'{value!r} is not an exact amount; write it as text, for example "{value}".')
    wei = parse_amount(str(value).strip().removesuffix("TAI").strip())
    if wei > MAX_AMOUNT:
        raise ConfigError(f"{value!r} is out of range: an amount is at most {format_amount(MAX_AMOUNT)} TokenAI.")
    return wei


def parse_duration(value: object) -> int:
    """Whole seconds from "20s", "10m", "1h30m", "2d" or a plain number of seconds. Raises ConfigError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    text = str(value).strip().replace(" ", "")
    if text.isdigit():
        return int(text)
    parts = _DURATION.findall(text)
    seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0))
    if not parts or "".join(number + unit for number, unit in parts) != text or seconds != seconds.to_integral_value():
        raise ConfigError(f'{value!r} is not a duration; write whole seconds as "20s", "10m" or "1h30m".')
    return int(seconds)


def format_duration(seconds: float) -> str:
    """The two largest units of a duration: "20 s", "3 min 5 s", "2 h"."""
    whole = round(seconds)
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, whole = divmod(whole, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2]) or "0 s"


def parse_share(value: object) -> Decimal:
    """A share of one from "25%", "0.25" or a number. Raises ConfigError outside 0 to 1."""
    text = str(value).strip()
    try:
        share = Decimal(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except InvalidOperation:
        raise ConfigError(f'{value!r} is not a share; write it as "25%" or 0.25.') from None
    if not share.is_finite() or not 0 <= share <= 1:
        raise ConfigError(f'{value!r} is not between 0 and 100%; write a share as "25%" or 0.25.')
    return share


def parse_basis_points(value: object) -> int:
    """Whole basis points of a share. Raises ConfigError when the share is finer than 0.01%."""
    points = parse_share(value) * 10_000
    if points != points.to_integral_value():
        raise ConfigError(f"{value!r} is finer than 0.01%, which is the smallest step on-chain.")
    return int(points)


def parse_factor(value: object) -> int:
    """Hundredths of a factor such as 2, "1.5" or "6x". Raises ConfigError when finer than 0.01."""
    text = str(value).strip().removesuffix("x")
    try:
        hundredths = Decimal(text) * 100
    except InvalidOperation:
        raise ConfigError(f"{value!r} is not a factor; write a number such as 2 or 1.5.") from None
    if not hundredths.is_finite() or hundredths != hundredths.to_integral_value() or not 0 <= hundredths < 2**16:
        raise ConfigError(f"{value!r} is not a factor between 0 and 655.35 in steps of 0.01.")
    return int(hundredths)


def parse_percent(value: object) -> int:
    """A whole percentage, which may exceed 100, from "150%", 150 or "1.5x". Raises ConfigError."""
    text = str(value).strip()
    if text.endswith("x"):
        return parse_factor(text)
    try:
        percent = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        raise ConfigError(f'{value!r} is not a percentage; write it as "100%".') from None
    if not percent.is_finite() or percent != percent.to_integral_value() or not 0 <= percent < 2**16:
        raise ConfigError(f'{value!r} is not a whole percentage; write it as "100%".')
    return int(percent)
