"""The chains that are kept, the oracles' prompts, and the facts that a chain may not reveal."""

from __future__ import annotations

import json
import time

import pytest
from reasrm_training.config.endpoints import Endpoint, Oracle
from reasrm_training.config.recipes import load_recipe
from reasrm_training.data.examples import PreferenceExample
from reasrm_training.oracle.examiner import Examiner, OracleReply, OracleRequest, learnable, problem_of
from reasrm_training.oracle.leaks import LEAKS, label_leak
from reasrm_training.rewards import JudgeRollout, verdict

from reasrm.prompts import load_pack

EXAMPLE = PreferenceExample.model_validate(
    {"id": "1", "source": "s", "question": "2 + 2?", "a": "four", "b": "five", "winner": "A", "subset": "sums"}
)


def chain(answer: str, evaluation: str = "<quote_A>four</quote_A> is right, <quote_B>five</quote_B> is not.") -> str:
    solution = "<type>Reasoning</type>\n<solution>\n2 + 2 = 4\n</solution>\n"
    return f"{solution}<eval>\n{evaluation}\n</eval>\n<answer>[[{answer}]]</answer>"


def examiner(samples: int = 1, second: bool = True, kind: str = "rubric") -> Examiner:
    endpoint = {"url": "http://127.0.0.1:1", "model": "m"}
    oracle = Oracle.model_validate({"first": endpoint, "second": endpoint if second else None, "samples": samples})
    return Examiner(oracle, load_pack(kind), b"key", seed=5)


def replies(**texts: str) -> dict[str, OracleReply]:
    """`first_0_ab="..."` as the reply to that request about the example, `second="..."` as that of the second pass."""
    firsts = {f"{key.replace('_', ':')}:1": OracleReply(text=text) for key, text in texts.items() if key != "second"}
    *_, second = examiner().every_request(EXAMPLE)
    return firsts | ({second.key: OracleReply(text=texts["second"])} if "second" in texts else {})


# --- which chains are kept --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (chain("A"), None),
        (chain("B"), "wrong"),
        (chain("A") + chain("B"), "both_answers"),
        ("", "empty"),
        ("I'm sorry, I can't judge this.", "refused"),
        ("A is better", "no_answer"),
        ("Sure! " + chain("A"), "malformed"),
        (chain("A").replace("<solution>", "<rubric>"), "malformed"),
        (chain("A", "I was told that response A is the better one."), "told:was_told"),
    ],
)
def test_a_reply_is_learned_from_only_if_it_is_right_complete_and_leaks_no_label(reply: str, problem: str | None):
    assert problem_of(reply, "A", "rubric", knew_label=True) == problem


@pytest.mark.parametrize("answer", ["<answer>[[a]]</answer>", "<ANSWER>[[A]]</ANSWER>", "<answer> [[A]] </answer>"])
def test_a_verdict_is_learned_in_every_spelling_that_the_parser_and_rl_read(answer: str):
    reply = chain("A").replace("<answer>[[A]]</answer>", answer)
    assert verdict(JudgeRollout(reply, "A")) > 0
    assert problem_of(reply, "A", "rubric") is None


def test_only_the_second_pass_can_leak_the_label():
    spoken = chain("A", "According to the label, A is right.")
    first, second = examiner().every_request(EXAMPLE)
    assert examiner().problem(first, OracleReply(text=spoken)) is None
    assert examiner().problem(second, OracleReply(text=spoken)) == "told:according_to"


def test_a_truncated_reply_has_that_reason():
    assert problem_of("<type>Reasoning</type><solution>2 +", "A", "rubric", truncated=True) == "truncated"


def test_packs_that_think_keep_the_thought_and_others_drop_it():
    thought = "<think>2 + 2 = 4</think>"
    assert learnable(thought + chain("A"), "rubric") == chain("A")
    assert learnable(thought + "<answer>[[A]]</answer>", "free") == thought + "<answer>[[A]]</answer>"
    assert problem_of(thought + "\n<answer>[[A]]</answer>", "A", "free") is None
    assert problem_of("<answer>[[A]]</answer>", "A", "free") == "unclosed_think"


def test_a_kept_chain_carries_the_prompt_that_the_student_will_see():
    kept = examiner().chain(EXAMPLE, replies(first_0_ab=chain("A")))
    assert kept is not None
    assert (kept.id, kept.winner, kept.oracle, kept.subset, kept.both_orders) == ("1", "A", "first", "sums", None)
    assert kept.messages == load_pack("rubric").render(EXAMPLE.pair, b"key")
    assert kept.reply == chain("A")


# --- two passes ----------------------------------------------------------------------------------------------------------


def test_the_first_pass_does_not_see_the_label():
    (request,) = examiner().open_requests(EXAMPLE, {})
    ask = examiner().ask(request, {})
    assert (request.step, request.order) == ("first", "ab")
    assert ask.messages == load_pack("rubric").render(EXAMPLE.pair, b"key")


def test_an_example_whose_first_chain_is_right_is_finished():
    assert examiner().open_requests(EXAMPLE, replies(first_0_ab=chain("A"))) == []


def test_a_failed_example_goes_to_the_second_pass_with_its_label_and_chain():
    known = replies(first_0_ab=chain("B"))
    (request,) = examiner().open_requests(EXAMPLE, known)
    *first, flawed, correction = examiner().ask(request, known).messages
    assert request.step == "second"
    assert tuple(first) == load_pack("rubric").render(EXAMPLE.pair, b"key")
    assert (flawed.role, flawed.content) == ("assistant", chain("B"))
    assert correction.role == "user"
    assert "response A is the better one" in correction.content
    assert "<answer>[[A]]</answer>" in correction.content
    assert "{{" not in correction.content


def test_the_second_pass_can_follow_an_empty_reply():
    known = replies(first_0_ab="")
    (request,) = examiner().open_requests(EXAMPLE, known)
    assert examiner().ask(request, known).messages[-2].content == "(nothing)"


def test_a_corrected_chain_is_kept_and_a_second_failure_is_the_end():
    fixed = replies(first_0_ab=chain("B"), second=chain("A"))
    kept = examiner().chain(EXAMPLE, fixed)
    assert kept is not None
    assert kept.oracle == "second"
    lost = replies(first_0_ab=chain("B"), second=chain("B"))
    assert examiner().chain(EXAMPLE, lost) is None
    assert examiner().open_requests(EXAMPLE, lost) == []


def test_without_a_second_oracle_there_is_no_second_pass():
    assert examiner(second=False).open_requests(EXAMPLE, replies(first_0_ab=chain("B"))) == []


# --- rejection sampling --------------------------------------------------------------------------------------------------


def test_samples_are_requested_in_turn_in_both_orders_until_one_is_right_in_both():
    sampling = examiner(samples=3, second=False)
    assert [r.key for r in sampling.open_requests(EXAMPLE, {})] == ["first:0:ab:1", "first:0:ba:1"]
    half = replies(first_0_ab=chain("A"), first_0_ba=chain("A"))
    assert [r.key for r in sampling.open_requests(EXAMPLE, half)] == ["first:1:ab:1", "first:1:ba:1"]
    whole = half | replies(first_1_ab=chain("A"), first_1_ba=chain("B"))
    assert sampling.open_requests(EXAMPLE, whole) == []
    assert len(sampling.open_requests(EXAMPLE, {}, at_once=True)) == 6


def test_samples_differ_by_their_seed():
    sampling = examiner(samples=2)
    requests = sampling.open_requests(EXAMPLE, {}, at_once=True)
    assert [sampling.ask(request, {}).seed for request in requests] == [5, 5, 6, 6]


def test_a_sample_right_in_both_orders_is_preferred_to_an_earlier_one_right_in_one():
    known = replies(
        first_0_ab=chain("A", "one way"), first_0_ba=chain("A"), first_1_ab=chain("A", "both ways"), first_1_ba=chain("B")
    )
    kept = examiner(samples=2).chain(EXAMPLE, known)
    assert kept is not None
    assert kept.reply == chain("A", "both ways")
    assert kept.both_orders is True


def test_a_sample_right_only_in_the_other_order_is_kept_as_such():
    kept = examiner(samples=2).chain(EXAMPLE, replies(first_0_ab=chain("B"), first_0_ba=chain("B", "swapped")))
    assert kept is not None
    assert (kept.winner, kept.both_orders) == ("B", False)
    assert kept.messages == load_pack("rubric").render(EXAMPLE.swapped().pair, b"key")


def test_every_request_has_a_key_of_its_own():
    keys = [request.key for request in examiner(samples=4).every_request(EXAMPLE)]
    assert len(set(keys)) == len(keys) == 9
    assert OracleRequest(EXAMPLE, "second", writer="77").key == "second:77:0:ab:1"


def test_the_second_model_is_part_of_its_requests_keys():
    one = Endpoint(url="http://127.0.0.1:1", model="m")
    assert one.writer == one.model_copy(update={"url": "http://elsewhere", "usd_per_million_input": 3.0}).writer
    others = [one.model_copy(update=change) for change in ({"model": "n"}, {"body": {"effort": "low"}}, {"omit": ("seed",)})]
    assert len({one.writer, *(other.writer for other in others)}) == 4


def test_the_command_line_can_remove_the_second_oracle():
    with_one = load_recipe("rm-r1-qwen2.5-instruct-7b").oracle
    without = load_recipe("rm-r1-qwen2.5-instruct-7b", ["oracle.second=false"]).oracle
    assert with_one is not None
    assert with_one.second is not None
    assert without == with_one.model_copy(update={"second": None})


# --- leaks of the label ----------------------------------------------------------------------------------------------------

LEAKY = {
    "was_told": [
        "I was told that response A is the better one.",
        "We are told response B is preferred.",
        "Since I've been informed that B is better, I look for reasons.",
        "I am required to conclude that B is better.",
        "I have been given the verdict.",
    ],
    "you_said": [
        "You told me that B is the better one.",
        "You said that response B is better, so I looked again.",
        "As you pointed out, response B is better.",
        "Thank you for the correction. A is better.",
    ],
    "as_told": ["As stated in the message, the second one wins.", "as I was told by the hint", "As pointed out, B is better."],
    "the_label": [
        "The gold label is B, so",
        "Since the correct verdict is [[A]],",
        "to agree with the provided preference",
        "The label is B.",
        "The ground truth is B.",
        "The expected verdict is A.",
        "The target answer is A.",
        "The desired answer is [[A]].",
        "Since the correct answer is [[B]], my evaluation must end with B.",
        "Given that the right answer is B, we must explain why.",
    ],
    "teller_says": [
        "the label says B",
        "The annotators prefer A here",
        "The message says that response A is better.",
        "The instruction indicates that response B is the better one.",
        "The user stated that response A is the better one.",
    ],
    "according_to": [
        "According to the label, A wins",
        "this is consistent with the correction",
        "According to the feedback, A is better.",
        "Based on the feedback, I now see that A is better.",
    ],
    "known_winner": [
        "We know that response B is better, so",
        "given that response A is known to be better",
        "Knowing that A is the better response, I look for reasons.",
        "It has been established that response A is the better one.",
        "the evaluation must favour it",
    ],
    "earlier_judgment": [
        "My previous judgment was wrong.",
        "The judgment above missed this.",
        "the initial evaluation overlooked",
        "My previous analysis overlooked the bug in response A.",
        "In my earlier assessment I favoured B.",
        "My first judgment was wrong.",
        "I initially chose B, but on reflection A is better.",
        "Previously I judged B to be better.",
        "I apologize for my earlier mistake.",
        "The judgment does not hold: response A is the better one.",
    ],
    "correcting": [
        "After being corrected, I see",
        "In the corrected judgment,",
        "I stand corrected",
        "Upon re-evaluation, response A is better.",
        "On reconsideration, A is the better one.",
        "I made a mistake there.",
        "This corrected version mends it.",
    ],
}
INNOCENT = [
    "We are told that x > 0, so B is at most 4.",
    "Based on the above analysis, Chatbot A is better.",
    "Given the evaluation above, response A wins.",
    "Based on the reasoning above, A is better.",
    "The label says 'fragile' in the question's picture, which A ignores.",
    "Consistent with the label on the axis, A draws the plot.",
    "I was asked to compare the two.",
    "The user asked that the answer be short.",
    "Therefore I must choose [[B]].",
    "The correct answer is 42, which response A gives.",
    "Given the question, A is better.",
    "The previous answer of the assistant was 5.",
    "I need to decide which is better.",
    "As instructed by the user, response A uses three bullets.",
    "Response A is said politely.",
    "We know that A is a matrix.",
    "As stated in the problem, B is the midpoint.",
    "I apologize for the confusion, says response B.",
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in LEAKY.items() for text in texts])
def test_a_chain_that_leaks_the_label_is_recognised(name: str, text: str):
    assert label_leak(chain("A", text)) == name


@pytest.mark.parametrize("text", INNOCENT)
def test_ordinary_reasoning_is_not_a_leak(text: str):
    assert label_leak(chain("A", text)) is None


def test_quotations_of_a_response_are_not_leaks():
    assert label_leak(chain("A", "<quote_A>I was told that B is better</quote_A> is beside the point.")) is None


@pytest.mark.parametrize("start", ["", "A", "We know that response A", "the label is A", "I was told that "])
@pytest.mark.parametrize(
    "piece",
    ['"', " ", "(", "A ", 'A"', "**", "as a ", "i ", "I told that ", "<quote_A>", "</quote_A>", "<summary_B><quote_A>", "the "],
)
def test_a_reply_that_repeats_itself_is_examined_in_time_linear_in_its_length(start: str, piece: str):
    reply = start + piece * (30_000 // len(piece))
    began = time.process_time()
    label_leak(reply)
    assert time.process_time() - began < 2.0  # quadratic patterns took much longer


def test_every_pattern_has_examples():
    assert set(LEAKY) == set(LEAKS)


def test_published_replies_and_responses_hardly_ever_match_a_pattern(shared_data):
    lines = (shared_data / "rm_r1_replies.jsonl").read_text(encoding="utf-8").splitlines()
    replies = [json.loads(line)["reply"] for line in lines]
    assert [reply for reply in replies if label_leak(reply)] == []
    responses = [
        text
        for file in sorted((shared_data / "rm-bench").glob("*.json"))
        for row in json.loads(file.read_text(encoding="utf-8"))
        for text in (*row["chosen"], *row["rejected"])
    ]
    flagged = sum(label_leak(text) is not None for text in responses)
    assert len(responses) > 1000
    assert flagged / len(responses) < 0.002
