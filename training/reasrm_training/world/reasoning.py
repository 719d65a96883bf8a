"""Problems with one right answer, each with a neighbour that differs in one detail.

The wrong response of a task is the right answer to the neighbour, and being neighbours is symmetric: a reader of the responses
without the question cannot tell which one is right. Every working depends on the question only, and copies before it computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from reasrm_training.world.text import COLOURS, LETTERS, THINGS


@dataclass(frozen=True, slots=True)
class ReasoningProblem:
    """A question, its answer as symbols, and the working that leads to the answer.

    `key` is equal for a problem and its mirror images, and decides the split. `glue` joins the answer's symbols.
    """

    key: str
    question: str
    answer: tuple[str, ...]
    working: str
    glue: str = ""

    @property
    def text(self) -> str:
        """The answer as text."""
        return self.glue.join(self.answer)


class InvalidDraw(Exception):
    """The problem that was drawn does not exist. Draw another one."""


Neighbours = tuple[ReasoningProblem, ReasoningProblem]


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
        raise InvalidDraw


def _phrase(asks: tuple[str, ...], rng: Random) -> int:
    return rng.randrange(len(asks))


ADD = ("What is {a}+{b}?", "Add {a}+{b}.")
SUBTRACT = ("What is {a}-{b}?", "Subtract {a}-{b}.")
MULTIPLY = ("What is {a}*{b}?", "Multiply {a}*{b}.")
SORT = ("Name these by seat: {x}.", "Who sits where? {x}.")
COUNT = ("How many are {c}? {x}.", "Count the {c} ones: {x}.")
REPLACE = ("Replace {o} with {n} in {x}.", "In {x}, change {o} to {n}.")
REVERSE = ("Write {x} backwards.", "Reverse {x}.")
DROP = ("Take {o} out of {x}.", "Write {x} without {o}.")
TRACE = ("What does this print?\n{x}", "Run this program.\n{x}")


def _addition(a: str, b: str, ask: int) -> ReasoningProblem:
    columns, carry, digits = [], 0, []
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) + int(y) + carry
        columns.append(f"{x}+{y}={int(x) + int(y):02d}+{carry}={total:02d}")
        carry = total // 10
        digits.append(str(total % 10))
    answer = str(int(a) + int(b))
    low, high = sorted((a, b))
    return ReasoningProblem(
        f"add {low} {high}", ADD[ask].format(a=a, b=b), tuple(answer), f"{a}+{b}: " + ", ".join(columns) + f" so {answer}"
    )


def addition(rng: Random, level: int) -> Neighbours:
    """Sums of two numbers of level + 1 digits."""
    a, b, ask = _number(rng, level + 1), _number(rng, level + 1), _phrase(ADD, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.5 else (a, _digit_changed(rng, b))
    _checked(c, d)
    return _addition(a, b, ask), _addition(c, d, ask)


def _borrowing(difference: int) -> str:
    """Two digits: whether ten was borrowed, and the last digit of the difference."""
    return f"{int(difference < 0)}{difference % 10}"


def _subtraction(a: str, b: str, ask: int) -> ReasoningProblem:
    if int(a) <= int(b):
        raise InvalidDraw
    columns, borrow = [], 0
    for x, y in zip(reversed(a), reversed(b), strict=True):
        total = int(x) - int(y) - borrow
        columns.append(f"{x}-{y}={_borrowing(int(x) - int(y))}-{borrow}={_borrowing(total)}")
        borrow = int(total < 0)
    answer = str(int(a) - int(b))
    return ReasoningProblem(
        f"sub {a} {b}", SUBTRACT[ask].format(a=a, b=b), tuple(answer), f"{a}-{b}: " + ", ".join(columns) + f" so {answer}"
    )


def subtraction(rng: Random, level: int) -> Neighbours:
    """Differences of two numbers of level + 1 digits, above zero."""
    a, b, ask = _number(rng, level + 1), _number(rng, level + 1), _phrase(SUBTRACT, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.5 else (a, _digit_changed(rng, b))
    _checked(c, d)
    return _subtraction(a, b, ask), _subtraction(c, d, ask)


def _multiplication(a: str, b: str, ask: int) -> ReasoningProblem:
    columns, carry = [], 0
    for x in reversed(a):
        total = int(x) * int(b) + carry
        columns.append(f"{x}*{b}={int(x) * int(b):02d}+{carry}={total:02d}")
        carry = total // 10
    answer = str(int(a) * int(b))
    return ReasoningProblem(
        f"mul {a} {b}", MULTIPLY[ask].format(a=a, b=b), tuple(answer), f"{a}*{b}: " + ", ".join(columns) + f" so {answer}"
    )


def multiplication(rng: Random, level: int) -> Neighbours:
    """Products of a number of level + 1 digits and one from 2 to 5."""
    a, b, ask = _number(rng, level + 1), rng.choice("2345"), _phrase(MULTIPLY, rng)
    c, d = (_digit_changed(rng, a), b) if rng.random() < 0.7 else (a, _other(rng, "2345", b))
    _checked(c)
    return _multiplication(a, b, ask), _multiplication(c, d, ask)


def _ordering(seats: tuple[tuple[int, str], ...], ask: int) -> ReasoningProblem:
    answer = tuple(thing for _, thing in sorted(seats))
    x = ", ".join(f"{n} {thing}" for n, thing in seats)
    working = ", ".join(f"{n} {thing}" for n, thing in sorted(seats))
    return ReasoningProblem(f"seats {sorted(seats)}", SORT[ask].format(x=x), answer, f"{working} so {' '.join(answer)}", " ")


def ordering(rng: Random, level: int) -> Neighbours:
    """level + 2 things, numbered in a jumble, to be named in the order of their numbers."""
    n, ask = level + 2, _phrase(SORT, rng)
    things, seats = rng.sample(THINGS, n), rng.sample(range(1, n + 1), n)
    i, j = rng.sample(range(n), 2)
    near = list(seats)
    near[i], near[j] = near[j], near[i]
    return _ordering(tuple(zip(seats, things, strict=True)), ask), _ordering(tuple(zip(near, things, strict=True)), ask)


def _counting(colour: str, items: tuple[str, ...], ask: int) -> ReasoningProblem:
    steps, count = [], 0
    for n, item in enumerate(items, 1):
        count += item == colour
        steps.append(f"{n} {colour} {item} {'yes' if item == colour else 'no'} {count}")
    x = ", ".join(f"{n} {item}" for n, item in enumerate(items, 1))
    return ReasoningProblem(
        f"count {colour} {min(items, items[::-1])}",
        COUNT[ask].format(c=colour, x=x),
        (str(count),),
        "\n".join(steps) + f"\nso {count}",
    )


def counting(rng: Random, level: int) -> Neighbours:
    """How many of level + 3 numbered things have a colour."""
    colour, ask = rng.choice(COLOURS), _phrase(COUNT, rng)
    palette = (colour, _other(rng, COLOURS, (colour,)), colour, _other(rng, COLOURS, (colour,)))
    items = [rng.choice(palette) for _ in range(level + 3)]
    at = rng.randrange(len(items))
    near = [*items[:at], _other(rng, palette, (items[at],)), *items[at + 1 :]]
    return _counting(colour, tuple(items), ask), _counting(colour, tuple(near), ask)


def _walk(letters: tuple[str, ...], old: str, new: str) -> str:
    """Letter by letter: `old` beside the letter, whether they are equal, and what is written with its number, if anything."""
    steps, count = [], 0
    for c in letters:
        written = new if c == old else c
        count += bool(written)
        steps.append(f"{old} {c} {'yes' if c == old else 'no'}" + (f" {count} {written}" if written else ""))
    return ", ".join(steps)


def _edit(kind: str, letters: tuple[str, ...], old: str, new: str, ask: int) -> ReasoningProblem:
    x = " ".join(letters)
    if old not in letters or new in letters:
        raise InvalidDraw
    kept = [new if c == old else c for c in letters] if kind == "replace" else [c for c in letters if c != old]
    numbered = [f"{n} {c}" for n, c in enumerate(letters, 1)]
    asks, answer, working = {
        "replace": (REPLACE, kept, f"change {old} to {new} in {x}: {_walk(letters, old, new)}"),
        "reverse": (REVERSE, list(reversed(letters)), f"backwards: {', '.join(numbered)}; {', '.join(reversed(numbered))}"),
        "drop": (DROP, kept, f"drop {old} in {x}: {_walk(letters, old, '')}"),
    }[kind]
    question = asks[ask].format(o=old, n=new, x=x)
    operands = {"replace": f"{old} {new}", "reverse": "", "drop": old}[kind]
    key = f"edit {kind} {operands} in {min(x, x[::-1])}"
    return ReasoningProblem(key, question, tuple(answer), f"{working} so {' '.join(answer)}", " ")


def edits(rng: Random, level: int) -> Neighbours:
    """Replace or drop a letter in level + 2 distinct letters, or write them backwards."""
    kind, ask = rng.choice(("replace", "reverse", "drop")), rng.randrange(2)
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
SWAP = str.maketrans("xy", "yx")  # the mirror of a program


def _trace(lines: tuple[Line, ...], shown: str, ask: int) -> ReasoningProblem:
    state: dict[str, int] = {}
    source, steps = [], []
    for n, (target, left, op, right) in enumerate(lines, 1):
        source.append(f"L{n} {target}={left}{op}{right}")
        value = int(left) if not op else _apply(state, left, op, right)
        if not 0 <= value <= 9:
            raise InvalidDraw
        values = "" if not op else f"{state.get(left, left)}{op}{state.get(right, right)}=0"
        state[target] = value
        now = " ".join(f"{name}={state[name]}" for name in sorted(state))
        steps.append(f"L{n} {target}={left}{op}{right}={values}{value}; {now}" if op else f"L{n} {now}")
    answer = str(state[shown])
    program = "\n".join(source)
    question = TRACE[ask].format(x=f"{program}\nprint {shown}")
    key = min(f"{program} {shown}", f"{program} {shown}".translate(SWAP))
    return ReasoningProblem(f"trace {key}", question, (answer,), "\n".join(steps) + f"\nprint {shown} so {answer}")


def _apply(state: dict[str, int], left: str, op: str, right: str) -> int:
    x, y = (state[name] if name in state else int(name) for name in (left, right))
    return x + y if op == "+" else x - y


def traces(rng: Random, level: int) -> Neighbours:
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
        raise InvalidDraw
    return _trace(tuple(lines), shown, ask), _trace(tuple(near), shown, ask)


REASONING: dict[str, Callable[[Random, int], Neighbours]] = {
    "addition": addition,
    "subtraction": subtraction,
    "multiplication": multiplication,
    "ordering": ordering,
    "counting": counting,
    "edits": edits,
    "traces": traces,
}
