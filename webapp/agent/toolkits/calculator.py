"""Arithmetic as tools; whole numbers stay whole, and no calculation takes long."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from pydantic import WithJsonSchema

from webapp.agent.tools import ToolError, Toolkit

# Any whole number of so many bits is also a float.
MAX_BITS = 1000

Number: TypeAlias = Annotated[int | float, WithJsonSchema({"type": "number"})]


def calculator() -> Toolkit:
    """The tools add, subtract, multiply, divide, power and square_root."""
    return Toolkit("calculator", (add, subtract, multiply, divide, power, square_root))


def add(a: Number, b: Number) -> Number:
    """Add two numbers."""
    return _result(_bounded(a) + _bounded(b))


def subtract(a: Number, b: Number) -> Number:
    """Subtract the second number from the first."""
    return _result(_bounded(a) - _bounded(b))


def multiply(a: Number, b: Number) -> Number:
    """Multiply two numbers."""
    return _result(_bounded(a) * _bounded(b))


def divide(a: Number, b: Number) -> Number:
    """Divide the first number by the second."""
    if b == 0:
        raise ToolError("Division by zero is not defined.")
    if isinstance(a, int) and isinstance(b, int) and a % b == 0:
        return _result(_bounded(a) // _bounded(b))
    return _result(_bounded(a) / _bounded(b))


def power(base: Number, exponent: Number) -> Number:
    """Raise a number to a power."""
    if base == 0 and exponent < 0:
        raise ToolError("Division by zero is not defined.")
    if base < 0 and exponent != int(exponent):
        raise ToolError("A fractional power of a negative number is not real.")
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        # Whole powers grow without end: 9 ** 9 ** 9 would take hours and gigabytes.
        if abs(base) > 1 and base.bit_length() * exponent > MAX_BITS:
            raise _too_large()
        return _result(base**exponent)
    try:
        return _result(float(base) ** float(exponent))
    except OverflowError:
        raise _too_large() from None


def square_root(number: Number) -> Number:
    """Take the square root of a number."""
    if number < 0:
        raise ToolError("The square root of a negative number is not real.")
    _bounded(number)
    if isinstance(number, int) and math.isqrt(number) ** 2 == number:
        return math.isqrt(number)
    return _result(math.sqrt(number))


def _bounded(number: Number) -> Number:
    return _result(number)


def _result(number: Number) -> Number:
    if isinstance(number, int):
        if number.bit_length() > MAX_BITS:
            raise _too_large()
        return number
    if not math.isfinite(number):
        raise _too_large()
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _too_large() -> ToolError:
    return ToolError("The number is too large.")
