"""The words of the world: those that fill its tasks, and the phrases around its responses."""

from __future__ import annotations

from random import Random

LETTERS = "bcdfghjkmnpqrstw"
COLOURS = ("red", "blue", "green", "black", "white", "brown")
THINGS = ("cup", "hat", "jar", "box", "pen", "map", "key", "bag", "bell", "coin", "lamp", "rope")
WORDS = (
    "sun", "moon", "rain", "snow", "wind", "fog", "sea", "hill", "lake", "tree", "leaf", "bird",
    "fish", "wolf", "bear", "stone", "sand", "road", "gate", "wall", "door", "roof", "fire", "smoke",
)  # fmt: skip
FIELDS: dict[str, tuple[str, ...]] = {
    "day": ("monday", "tuesday", "friday", "sunday"),
    "place": ("park", "cafe", "school", "station"),
    "drink": ("tea", "milk", "juice", "water"),
    "food": ("bread", "soup", "rice", "cake"),
    "guest": ("anna", "ben", "carl", "dora"),
    "music": ("jazz", "folk", "rock", "opera"),
}
PLACES = {"first": 0, "second": 1, "third": 2, "last": -1}

#: Openings and closings of responses. They are drawn alike for each, so that a long, polite response is as often wrong as right.
OPENINGS = (
    *("",) * 5,
    *("Sure. ",) * 2,
    *("Thank you for asking. ",) * 2,
    "What a good question! I took great care with it. ",
    "It is a pleasure to help you today. I checked each part twice, so you can rely on it. ",
    "Thank you very much for your message, and please forgive me for taking a moment. I read it slowly, made a plan, worked"
    " through it step by step on paper, and then went back and looked over every single part once more before I wrote to you. ",
)
CLOSINGS = (
    *("",) * 5,
    *(" Done.",) * 2,
    *(" I hope this helps.",) * 2,
    " Please ask me again at any time, I am glad to help.",
    " I am quite sure of this. Have a wonderful day, and thank you for your kind patience!",
    " If anything is unclear, or if you would like to see it done in another way, just tell me and I will gladly go through it"
    " with you again from the start. You ask such thoughtful questions, and it is always a joy to work on them together!",
)

#: The wording of an answer.
CORES = ("The answer is {}.", "Answer: {}.", "It is {}.")


def styled(rng: Random, core: str) -> str:
    """`core` with an opening and a closing, which tell nothing about whether it is right."""
    return rng.choice(OPENINGS) + core + rng.choice(CLOSINGS)
