"""sin, cos and the inverse functions, as fixed sequences of basic operations (docs/numerics.md).

The reduction of sin and cos is in integers and exact to 2^-62 of a quarter turn for every finite f32, after Payne and
Hanek, "Radian reduction for trigonometric functions", SIGNUM 18 (1983). The inverse functions are split as in fdlibm.
Polynomials are minimax fits, rounded to f32. Bounds, in units in the last place of the correctly rounded result
(measured by the tests): sin 0.9, cos 0.9, tan 2.4, atan 1.9, asin 0.9, acos 0.9.
"""

from __future__ import annotations

from orebit.numerics.functions import polynomial
from orebit.program.expression import Scalar

# sin(x) = x + x^3 P(x^2) and cos(x) = 1 - x^2 / 2 + x^4 P(x^2) on |x| <= pi / 4, highest power first.
SIN_COEFFICIENTS = ("0x1.7cd428p-19", "-0x1.a05bb2p-13", "0x1.111176p-7", "-0x1.555556p-3")
COS_COEFFICIENTS = ("0x1.99e0ecp-16", "-0x1.6c0c1ap-10", "0x1.55554ap-5")
# atan(x) = x + x^3 P(x^2) on |x| <= tan(pi / 8).
ATAN_COEFFICIENTS = ("-0x1.f2ee66p-5", "0x1.b22698p-4", "-0x1.23b9cep-3", "0x1.9991e4p-3", "-0x1.55554ap-2")
# asin(x) = x + x^3 P(x^2) on |x| <= 1/2.
ASIN_COEFFICIENTS = ("0x1.59cc5ep-5", "0x1.8bb56p-6", "0x1.748a2ap-5", "0x1.33016ap-4", "0x1.5555cap-3")
# The first 230 binary digits of 2 / pi after 26 zeros, in words of 32.
TWO_OVER_PI = (0x00000028, 0xBE60DB93, 0x91054A7F, 0x09D5F47D, 0x4D377036, 0xD8A5664F, 0x10E4107F, 0x9458EAF7)
WORD = (1 << 32) - 1
# pi / 2 in two parts, the first of 12 digits.
HALF_PI_HIGH, HALF_PI_LOW = 1.57080078125, -4.4544551033807684e-06
PI_HIGH, PI_LOW = 3.1415927410125732, -8.742277657347586e-08
QUARTER_TURN = 0.7853981633974483
TAN_EIGHTH, TAN_THREE_EIGHTHS = 0.41421356237309503, 2.414213562373095


def _reduced(x: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """|x| as a number of quarter turns modulo 4 and an angle in two parts, at most pi / 4."""
    magnitude = x.abs()
    bits = magnitude.bits()
    whole = (bits & 0x7FFFFF) | 0x800000
    # |x| = whole * 2^(place - 24) times the weight of the window's first digit, for |x| >= 1/2.
    place = ((bits >> 23) - 126).max(0)
    first, shift = place >> 5, place & 31
    words = _window(x, first)
    window = [((words[k] << shift) | words[k + 1].shr(32 - shift)) & WORD for k in range(3)]
    low = whole * window[2]
    middle = whole * window[1] + low.shr(32)
    high = whole * window[0] + middle.shr(32)
    turns = (high << 32) | (middle & WORD)  # modulo 4, in units of 2^-62 quarter turns
    quarter = (turns + (1 << 61)).shr(62)
    rest = turns - (quarter << 62)
    angle, tail = _radians(rest)
    near = magnitude.le(QUARTER_TURN)
    return near.select(0, quarter), near.select(magnitude, angle), near.select(0.0, tail)


def _window(x: Scalar, first: Scalar) -> list[Scalar]:
    """Four words of 2 / pi from word `first`, 0 to 4."""
    words = []
    for k in range(4):
        word = x.builder.i64(TWO_OVER_PI[k])
        for start in range(1, 5):
            word = first.eq(start).select(TWO_OVER_PI[start + k], word)
        words.append(word)
    return words


def _radians(rest: Scalar) -> tuple[Scalar, Scalar]:
    """rest * 2^-62 quarter turns in radians, as a sum of two f32."""
    leading = (rest.to_f32().bits() & 0xFFFFF000).as_f32()  # 12 digits: its product with HALF_PI_HIGH is exact
    remaining = (rest - leading.to_i64()).to_f32() * 2.0**-62
    leading = leading * 2.0**-62
    product = leading * HALF_PI_HIGH
    small = leading * HALF_PI_LOW + remaining * (HALF_PI_HIGH + HALF_PI_LOW)
    angle = product + small
    return angle, (product - angle) + small


def _sine(angle: Scalar, tail: Scalar) -> Scalar:
    square = angle * angle
    return angle + (tail + angle * square * polynomial(square, SIN_COEFFICIENTS))


def _cosine(angle: Scalar, tail: Scalar) -> Scalar:
    square = angle * angle
    half = square * 0.5
    head = 1.0 - half
    return head + (((1.0 - head) - half) + (square * square * polynomial(square, COS_COEFFICIENTS) - angle * tail))


def _finite(x: Scalar, result: Scalar) -> Scalar:
    return x.abs().lt(x.builder.f32(float("inf"))).select(result, x.builder.f32(float("nan")))


def sin(x: Scalar) -> Scalar:
    """The sine of any finite f32 in radians; NaN at infinity; the sign of zero stays."""
    quarter, angle, tail = _reduced(x)
    value = (quarter & 1).select(_cosine(angle, tail), _sine(angle, tail))
    negative = quarter.shr(1) ^ x.bits().shr(31)
    return _finite(x, negative.select(-value, value))


def cos(x: Scalar) -> Scalar:
    """The cosine of any finite f32 in radians; NaN at infinity."""
    quarter, angle, tail = _reduced(x)
    value = (quarter & 1).select(_sine(angle, tail), _cosine(angle, tail))
    return _finite(x, ((quarter + 1) & 2).select(-value, value))


def tan(x: Scalar) -> Scalar:
    """The tangent of any finite f32 in radians."""
    quarter, angle, tail = _reduced(x)
    sine, cosine = _sine(angle, tail), _cosine(angle, tail)
    odd = quarter & 1
    ratio = odd.select(-cosine, sine) / odd.select(sine, cosine)
    return _finite(x, x.bits().shr(31).select(-ratio, ratio))


def atan(x: Scalar) -> Scalar:
    """The arc tangent; the sign of zero and NaN stay."""
    magnitude = x.abs()
    middle, large = magnitude.gt(TAN_EIGHTH), magnitude.gt(TAN_THREE_EIGHTHS)
    top = large.select(-1.0, middle.select(magnitude - 1.0, magnitude))
    t = top / large.select(magnitude, middle.select(magnitude + 1.0, x.builder.f32(1.0)))
    square = t * t
    bend = t * square * polynomial(square, ATAN_COEFFICIENTS)
    high = large.select(PI_HIGH / 2, middle.select(PI_HIGH / 4, x.builder.f32(0.0)))
    low = large.select(PI_LOW / 2, middle.select(PI_LOW / 4, x.builder.f32(0.0)))
    value = high + (t + (bend + low))
    return x.bits().shr(31).select(-value, value)


def asin(x: Scalar) -> Scalar:
    """The arc sine; NaN beyond -1..1; the sign of zero stays."""
    magnitude = x.abs()
    small = magnitude.lt(0.5)
    square = small.select(x * x, (1.0 - magnitude) * 0.5)
    bend = square * polynomial(square, ASIN_COEFFICIENTS)
    root, leading, lost = _root(square)
    inner = (root * bend) * 2.0 - (PI_LOW / 2 - lost * 2.0)
    large = PI_HIGH / 4 - (inner - (PI_HIGH / 4 - leading * 2.0))
    return small.select(x + x * bend, x.lt(0.0).select(-large, large))


def acos(x: Scalar) -> Scalar:
    """The arc cosine; NaN beyond -1..1."""
    magnitude = x.abs()
    small = magnitude.lt(0.5)
    square = small.select(x * x, (1.0 - magnitude) * 0.5)
    bend = square * polynomial(square, ASIN_COEFFICIENTS)
    root, leading, lost = _root(square)
    centre = PI_HIGH / 2 - (x - (PI_LOW / 2 - x * bend))
    left = PI_HIGH - (root + (root * bend - PI_LOW / 2)) * 2.0
    right = (leading + (root * bend + lost)) * 2.0
    return small.select(centre, x.lt(0.0).select(left, right))


def _root(square: Scalar) -> tuple[Scalar, Scalar, Scalar]:
    """The square root s, its 12 leading digits, and the rest of the exact root beyond them."""
    root = square.sqrt()
    leading = (root.bits() & 0xFFFFF000).as_f32()
    rest = (square - leading * leading) / (root + leading)
    return root, leading, root.eq(0.0).select(0.0, rest)
