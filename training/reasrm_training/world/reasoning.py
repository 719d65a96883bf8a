"""Problems with one right answer, each with a neighbour that differs in one thing.

The wrong response of a task is the right answer to the neighbour, and neighbourhood is symmetric: who sees the responses
without the question cannot tell which is which. Every working reads the question only, and copies before it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from reasrm_training.world.text import COLOURS, LETTERS, THINGS


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, its answer as symbols, and the working that leads to it.

    `key` is equal for a problem and its mirror images; it decides the split. `glue` joins the answer's symbols.
    """

    key: str
    question: str
    answer: tuple[str, ...]
    working: str
    glue: str = ""

    @property
    def text(self) -> str:
        """The answer as written."""
        return self.glue.join(self.answer)


class Invalid(Exception):
    """The drawn problem does not exist; draw another one."""


Drawn = tuple[Problem, Problem]


def _other(rng: Random, options: str | tuple[str, ...] | range, not_these: object) -> str:
    """An option that is not among `not_these`."""
    return rng.choice([str(o) for o in options if str(o) not in not_these])  # type: ignore[operator]


def _digit_changed(rng: Random, number: str) -> str:
    """`number` with one digit replaced."""
    at = rng.randrange(len(number))
    return number[:at] + _other(rng, "0123456789", number[at]) + number[at + 1 :]


def _number(rng: Random, digits: int) -> str:
    return str(rng.randrange(10 ** (digits - 1), 10**digits))


def _checked(*numbers: str) -> None:
    if any(n[0] == "0" for n in numbers):
        raise Invalid


def _phrase(asks: tuple[str, ...], rng: Random) -> int:
    return rng.randrange(len(asks))


ADD = ("What is {a}+{b}?", "Add {a}+{b}.", "Work out {a}+{b}, please.")
SUBTRACT = ("What is {a}-{b}?", "Subtract: {a}-{b}.", "Work out {a}-{b}, please.")
MULTIPLY = ("What is {a}*{b}?", "Multiply {a}*{b}.", "Work out {a}*{b}, please.")
SORT = ("Put these letters in {d} order: {x}.", "Sort in {d} order: {x}.")
COUNT = ("How many are {c}? {x}.", "Count what is {c}: {x}.")
REPLACE = ("Replace {o} with {n} in {x}.", "In {x}, change {o} to {n}.")
REVERSE = ("Write {x} backwards.", "Reverse {x}.")
DROP = ("Take {o} out of {x}.", "Write {x} without {o}.")
INSERT = ("Put {n} right after {o} in {x}.",)
TRACE = ("What does this print?\n{x}", "Run this program.\n{x}")


def _addition(a: str, b: str, ask: int) -> Problem:
    columns, carry, digits = [], 0, []
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) + int(y) + carry
        columns.append(f"{x}+{y}+{carry}={total:02d}")
        carry = total // 10
        digits.append(str(total % 10))
    answer = str(int(a) + int(b))
    low, high = sorted((a, b))
    return Problem(f"add {low} {high}", ADD[ask].format(a=a, b=b), tuple(answer), f"{a}+{b}: " + ", ".join(columns) + f" so {answer}")


def addition(rng: Random, level: int) -> Drawn:
    """Sums of two numbers of level + 1 digits."""
    a, b, ask = _number(rng, level + 1), _number(rng, level + 1), _phrase(ADD, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.5 else (a, _digit_changed(rng, b))
    _checked(c, d)
    return _addition(a, b, ask), _addition(c, d, ask)


def _subtraction(a: str, b: str, ask: int) -> Problem:
    if int(a) <= int(b):
        raise Invalid
    columns, borrow = [], 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) - int(y) - borrow
        columns.append(f"{x}-{y}-{borrow}={int(total < 0)}{total % 10}")
        borrow = int(total < 0)
    answer = str(int(a) - int(b))
    return Problem(f"sub {a} {b}", SUBTRACT[ask].format(a=a, b=b), tuple(answer), f"{a}-{b}: " + ", ".join(columns) + f" so {answer}")


def subtraction(rng: Random, level: int) -> Drawn:
    """Differences of two numbers of level + 1 digits, above zero."""
    a, b, ask = _number(rng, level + 1), _number(rng, level + 1), _phrase(SUBTRACT, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.5 else (a, _digit_changed(rng, b))
    _checked(c, d)
    return _subtraction(a, b, ask), _subtraction(c, d, ask)


def _multiplication(a: str, b: str, ask: int) -> Problem:
    columns, carry = [], 0
    for x in reversed(a):
        total = int(x) * int(b) + carry
        columns.append(f"{x}*{b}+{carry}={total:02d}")
        carry = total // 10
    answer = str(int(a) * int(b))
    return Problem(f"mul {a} {b}", MULTIPLY[ask].format(a=a, b=b), tuple(answer), f"{a}*{b}: " + ", ".join(columns) + f" so {answer}")


def multiplication(rng: Random, level: int) -> Drawn:
    """Products of a number of level + 1 digits and one from 2 to 5."""
    a, b, ask = _number(rng, level + 1), rng.choice("2345"), _phrase(MULTIPLY, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.7 else (a, _other(rng, "2345", b))
    _checked(c)
    return _multiplication(a, b, ask), _multiplication(c, d, ask)


def _ordering(letters: tuple[str, ...], down: bool, ask: int) -> Problem:
    answer = tuple(sorted(letters, reverse=down))
    x, direction = " ".join(letters), "falling" if down else "rising"
    return Problem(
        f"sort {' '.join(sorted(letters))}", SORT[ask].format(d=direction, x=x), answer, f"in {direction} order: {x} so {' '.join(answer)}", " "
    )


def ordering(rng: Random, level: int) -> Drawn:
    """Distinct letters, level + 2 of them, to be put in rising or falling order."""
    letters, down, ask = rng.sample(LETTERS, level + 2), rng.random() < 0.5, _phrase(SORT, rng)
    at = rng.randrange(len(letters))
    near = [*letters[:at], _other(rng, LETTERS, letters), *letters[at + 1 :]]
    if rng.random() < 0.2:
        return _ordering(tuple(letters), down, ask), _ordering(tuple(letters), not down, ask)
    return _ordering(tuple(letters), down, ask), _ordering(tuple(near), down, ask)


def _counting(colour: str, items: tuple[tuple[str, str], ...], ask: int) -> Problem:
    steps, n = [], 0
    for c, thing in items:
        n += c == colour
        steps.append(f"{c} {thing} {'yes' if c == colour else 'no'} {n}")
    x = ", ".join(f"{c} {thing}" for c, thing in items)
    return Problem(
        f"count {colour} {sorted(items)}", COUNT[ask].format(c=colour, x=x), (str(n),), f"of {colour}: " + ", ".join(steps) + f" so {n}"
    )


def counting(rng: Random, level: int) -> Drawn:
    """How many of 2 * level + 2 things have a colour."""
    colour, ask = rng.choice(COLOURS), _phrase(COUNT, rng)
    palette = (colour, _other(rng, COLOURS, (colour,)), colour)
    items = [(rng.choice(palette), thing) for thing in rng.sample(THINGS, 2 * level + 2)]
    at = rng.randrange(len(items))
    near = [*items[:at], (_other(rng, palette, (items[at][0],)), items[at][1]), *items[at + 1 :]]
    return _counting(colour, tuple(items), ask), _counting(colour, tuple(near), ask)


def _edit(kind: str, letters: tuple[str, ...], old: str, new: str, ask: int) -> Problem:
    x = " ".join(letters)
    if old not in letters or new in letters:
        raise Invalid
    asks, answer, working = {
        "replace": (REPLACE, [new if c == old else c for c in letters], f"change {old} to {new}:"),
        "reverse": (REVERSE, list(reversed(letters)), "backwards:"),
        "drop": (DROP, [c for c in letters if c != old], f"no {old}:"),
        "insert": (INSERT, [y for c in letters for y in ((c, new) if c == old else (c,))], f"put {new} after {old}:"),
    }[kind]
    question = asks[ask % len(asks)].format(o=old, n=new, x=x)
    return Problem(f"edit {kind} {min(x, x[::-1])} {old} {new}", question, tuple(answer), f"{working} {x} so {' '.join(answer)}", " ")


def edits(rng: Random, level: int) -> Drawn:
    """Replace, reverse, drop or insert in level + 2 distinct letters."""
    kind, ask = rng.choice(("replace", "reverse", "drop", "insert")), rng.randrange(2)
    letters = rng.sample(LETTERS, level + 2)
    old, new = rng.choice(letters), _other(rng, LETTERS, letters)
    here, near = _edit(kind, tuple(letters), old, new, ask), list(letters)
    if kind != "reverse" and rng.random() < 0.5:
        return here, _edit(kind, tuple(letters), _other(rng, tuple(letters), (old,)), new, ask)
    i, j = rng.sample(range(len(letters)), 2)
    if rng.random() < 0.5:
        near[i], near[j] = near[j], near[i]
    else:
        near[i] = _other(rng, LETTERS, letters)
    return here, _edit(kind, tuple(near), old, new, ask)


Line = tuple[str, str, str, str]  # target, left, operator, right


def _trace(lines: tuple[Line, ...], shown: str, ask: int) -> Problem:
    state: dict[str, int] = {}
    source, steps = [], []
    for n, (target, left, op, right) in enumerate(lines, 1):
        source.append(f"L{n} {target}={left}{op}{right}")
        value = int(left) if not op else _apply(state, left, op, right)
        if not 0 <= value <= 9:
            raise Invalid
        values = "" if not op else f"{state.get(left, left)}{op}{state.get(right, right)}="
        state[target] = value
        now = " ".join(f"{name}={state[name]}" for name in sorted(state))
        steps.append(f"L{n} {target}={left}{op}{right}={values}{value}; {now}" if op else f"L{n} {now}")
    answer = str(state[shown])
    question = TRACE[ask].format(x="\n".join([*source, f"print {shown}"]))
    return Problem(f"trace {lines} {shown}", question, (answer,), "\n".join(steps) + f"\nprint {shown} so {answer}")


def _apply(state: dict[str, int], left: str, op: str, right: str) -> int:
    x, y = (state[name] if name in state else int(name) for name in (left, right))
    return x + y if op == "+" else x - y


def traces(rng: Random, level: int) -> Drawn:
    """A program of two variables and level steps upon them; every value is a digit."""
    lines: list[Line] = [(name, str(rng.randrange(10)), "", "") for name in "xy"]
    for _ in range(level):
        target = rng.choice("xy")
        lines.append((target, target, rng.choice("+-"), rng.choice(["x" if target == "y" else "y", rng.choice("1234")])))
    shown, ask = rng.choice("xy"), _phrase(TRACE, rng)
    at, near = rng.randrange(len(lines)), list(lines)
    target, left, op, right = lines[at]
    if not op:
        near[at] = (target, _other(rng, "0123456789", (left,)), op, right)
    elif rng.random() < 0.5:
        near[at] = (target, left, _other(rng, "+-", (op,)), right)
    elif right in "1234":
        near[at] = (target, left, op, _other(rng, "1234", (right,)))
    else:
        raise Invalid
    return _trace(tuple(lines), shown, ask), _trace(tuple(near), shown, ask)


REASONING: dict[str, Callable[[Random, int], Drawn]] = {
    "addition": addition,
    "subtraction": subtraction,
    "multiplication": multiplication,
    "ordering": ordering,
    "counting": counting,
    "edits": edits,
    "traces": traces,
}
