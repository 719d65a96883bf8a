"""Judging and ranking on the playground, in a real browser before the real gateway with the embedded judge."""

from __future__ import annotations

import json
import re
import subprocess
import sys

from playwright.sync_api import Route, expect

from tests.components import ROOT, Gateway
from tests.e2e import playground_examples
from tests.e2e.playground_steps import EXAMPLES, VERDICT, Open, Picture, clipboard, example, headline, judge, write

#: Records the page before the verdict arrives.
WATCH = """() => {
  window.seen = [];
  new MutationObserver(() => {
    const waiting = document.querySelector(".verdict.waiting .headline");
    const raw = document.querySelector(".raw pre");
    if (waiting && raw) window.seen.push([waiting.textContent, raw.textContent.length]);
  }).observe(document.getElementById("result"), { childList: true, subtree: true, characterData: true });
}"""


def test_the_examples_are_held_out_tasks_of_the_world() -> None:
    assert playground_examples.shipped() == playground_examples.examples(), (
        "write them again: python -m tests.e2e.playground_examples"
    )


def test_a_pair_is_typed_judged_and_watched_while_the_reply_is_written(open_page: Open, picture: Picture) -> None:
    page = open_page()
    page.wait_for_selector(".example")
    picture(page, "playground-start")
    request = EXAMPLES["Card"]
    write(page, request["question"], request["a"] + " ", request["b"])  # the space makes it a pair that nobody judged before
    page.evaluate(WATCH)
    shown = judge(page)
    seen = page.evaluate("window.seen")
    assert len({length for _, length in seen}) >= 3, f"the reply came in one piece: {seen}"
    assert re.match(r"[AB]\s+is better\s+(> )?\d", shown)
    expect(page.locator(".reply")).to_have_count(2)
    expect(page.locator(".reply .criteria li").first).to_be_visible()
    assert page.locator(".criteria .bar > span").first.evaluate("node => node.getBoundingClientRect().width") > 10
    expect(page.locator(".response.side-A mark.quoted").first).to_be_visible()
    expect(page.locator(".response.side-B mark.quoted").first).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("written")
    expect(page.locator(".verdict .plain")).to_contain_text(re.compile("orders"))
    picture(page, "playground-judgment")


def test_a_quotation_in_the_evaluation_leads_to_its_place_in_the_response(open_page: Open) -> None:
    page = open_page()
    example(page, "Note")
    judge(page)
    quote = page.locator(".reply a.quote").first
    letter = re.search(r"side-(\w)", quote.get_attribute("class") or "")
    quote.focus()
    page.keyboard.press("Enter")
    assert letter is not None
    expect(page.locator(f".response.side-{letter[1]} mark.flash")).to_have_count(1)


def test_swapped_responses_get_the_same_verdict_the_other_way_round(open_page: Open) -> None:
    page = open_page()
    example(page, "Sum")
    before = judge(page)
    page.get_by_role("button", name="Swap").click()
    assert page.locator(".verdict").count() == 0  # the statements about A would be read as statements about B
    assert page.get_by_label("Response A", exact=True).input_value() == EXAMPLES["Sum"]["b"]
    after = judge(page)
    assert {before[0], after[0]} == {"A", "B"}


def test_responses_that_change_places_while_they_are_judged_get_no_verdict_of_the_old_places(open_page: Open) -> None:
    page = open_page()
    request = EXAMPLES["Sum"]
    write(page, request["question"], request["a"] + "  ", request["b"])  # a pair that nobody judged before
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".verdict.waiting")
    page.get_by_role("button", name="Swap").click()
    expect(page.locator("#judge")).to_be_visible()
    expect(page.locator(".verdict, .response.wins")).to_have_count(0)
    assert judge(page)[0] in "AB"


def test_a_group_without_verdicts_is_shown_without_an_order(open_page: Open) -> None:
    page = open_page()
    example(page, "Outside its world")
    page.get_by_role("button", name="Add a response").click()
    page.get_by_label("Response C", exact=True).fill("It is a number.")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("region", name="Ranking").locator(".headline")).to_have_text("No comparison gave a verdict.")
    expect(page.locator("#said")).to_have_text("No comparison gave a verdict.")
    expect(page.locator(".response.wins")).to_have_count(0)


def test_an_earlier_judgment_is_marked_as_cached(open_page: Open) -> None:
    page = open_page()
    example(page, "Sorting")
    judge(page)
    tokens = page.locator(".facts").inner_text()
    page.get_by_role("button", name="Edit", exact=True).click()
    judge(page)
    expect(page.locator(".facts .cached")).to_be_visible()
    assert re.search(r"[\d,]+ read, [\d,]+ written", tokens)[0] in page.locator(".facts").inner_text()  # type: ignore[index]


def test_a_group_is_ranked_and_each_comparison_can_be_read(open_page: Open, picture: Picture) -> None:
    page = open_page()
    example(page, "Rank five")
    expect(page.locator("#judge")).to_contain_text("Rank 5")
    page.locator("#judge").click()
    page.wait_for_selector(".matrix")
    expect(page.locator(".matrix .cell")).to_have_count(20)
    expect(page.locator(".rewards circle")).to_have_count(5)
    assert page.locator(".rewards .whisker").count() >= 3 * 4  # a stroke and its two ends, for each that was compared
    page.get_by_role("button", name=re.compile("^A against B")).click()
    expect(page.locator(".chosen-head")).to_be_focused()
    expect(page.locator(".chosen-head")).to_have_text(re.compile("A and B|B and A"))
    expect(page.locator(".chosen .reply")).to_have_count(2)
    expect(page.locator(".response.side-B mark.quoted").first).to_be_visible()
    picture(page, "playground-ranking")


def test_all_that_share_the_highest_reward_are_marked(open_page: Open) -> None:
    page = open_page()
    request = EXAMPLES["Sum"]
    example(page, "Sum")
    better, worse = (request["a"], request["b"]) if judge(page)[0] == "A" else (request["b"], request["a"])
    expect(page.locator(".response.wins .wins-word")).to_have_text(["better"])
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_role("button", name="Add a response").click()
    write(page, request["question"], worse, better, better)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".matrix")
    expect(page.locator(".response.wins .letter")).to_have_text(["B", "C"])
    expect(page.locator(".response.wins .wins-word")).to_have_text(["shared first"] * 2)
    expect(page.locator(".podium .than")).to_have_text(["=", "›"])
    expect(page.locator("#said")).to_have_text("Best is B and C")


def test_a_probability_is_not_rounded_up_to_certainty_and_equal_rewards_are_no_order(open_page: Open) -> None:
    page = open_page()
    example(page, "Rank five")

    def nearly_certain(route: Route) -> None:
        ranking = route.fetch().json()
        for standing in ranking["standings"]:
            standing.update(place=1, reward=0.0)
        for comparison in ranking["comparisons"]:
            comparison["judgment"]["outcome"] = {"kind": "verdict", "winner": "A", "probability_a": 0.9996, "source": "logprobs"}
        route.fulfill(json=ranking)

    page.route("**/v1/rank", nearly_certain)
    page.locator("#judge").click()
    page.wait_for_selector(".matrix")
    assert set(page.locator(".podium .than").all_inner_texts()) == {"="}
    cells = {text.removesuffix("≠").strip() for text in page.locator(".matrix .cell").all_inner_texts()}
    assert cells == {"> 99", "< 1"}
    expect(page.locator(".chosen .surely").first).to_have_text("> 99.9 %")


def test_up_to_eight_responses_can_be_added_and_removed(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector(".example")
    for _ in range(6):
        page.get_by_role("button", name="Add a response").click()
    expect(page.locator(".response")).to_have_count(8)
    expect(page.get_by_role("button", name="Add a response")).to_be_hidden()
    page.get_by_role("button", name="remove response C").click()
    expect(page.locator(".response")).to_have_count(7)
    expect(page.locator("#judge")).to_contain_text("Rank 7")


def test_a_link_shows_the_judgment_again_without_asking_the_engine(open_page: Open, gateway: Gateway) -> None:
    page = open_page()
    example(page, "Code")
    shown = judge(page)
    link = clipboard(page, "Copy link")
    assert link.startswith(f"{gateway.url}/#/r/")
    page = open_page(link.removeprefix(gateway.url))
    page.wait_for_selector(VERDICT)
    assert headline(page) == shown
    expect(page.locator(".facts .cached")).to_be_visible()
    assert page.locator(".reading").first.inner_text().strip() == EXAMPLES["Code"]["question"]


def test_a_link_to_an_unjudged_pair_fills_the_form_and_spends_nothing(open_page: Open) -> None:
    page = open_page(quiet=False)
    packed = page.evaluate(
        "import('./static/share.js').then(s => s.pack({question: 'Add 12+13.', a: 'It is 25.', b: 'It is 26!!'}))"
    )
    page = open_page(f"/#/r/{packed}", quiet=False)
    expect(page.get_by_label("Response B", exact=True)).to_have_value("It is 26!!")
    expect(page.locator("#toast")).to_contain_text("Press Judge")
    assert page.locator(".verdict").count() == 0


def test_a_link_of_a_ranking_shows_the_ranking(open_page: Open) -> None:
    page = open_page()
    example(page, "Rank five")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(VERDICT)
    podium = page.get_by_role("region", name="Ranking").locator(".headline").inner_text()
    link = clipboard(page, "Copy link")
    opened = open_page(None)
    opened.goto(link)
    expect(opened.get_by_role("region", name="Ranking").locator(".headline")).to_have_text(re.compile(r"\s*".join(podium.split())))
    expect(opened.locator(".facts").first).to_contain_text("Cached")


def test_a_link_that_unpacks_into_too_much_text_is_refused_at_once(open_page: Open) -> None:
    page = open_page()
    packed = page.evaluate(
        """() => import('./static/share.js').then(({ pack }) => pack({ question: "q".repeat(40e6), a: "a", b: "b" }))"""
    )
    assert 30_000 < len(packed) < 100_000
    opened = open_page(f"/#/r/{packed}")
    expect(opened.get_by_role("alert")).to_contain_text("more text than the page can show", timeout=5000)
    turns = [{"role": "user", "content": "q"}] * 5000
    pack = "request => import('./static/share.js').then(({ pack }) => pack(request))"
    packed = page.evaluate(pack, {"question": turns, "a": "a", "b": "b"})
    opened = open_page(f"/#/r/{packed}")
    expect(opened.get_by_role("alert")).to_contain_text("more turns", timeout=5000)


def test_a_damaged_link_says_so(open_page: Open) -> None:
    page = open_page("/#/r/AAAAjunk")
    expect(page.get_by_role("alert")).to_contain_text("damaged")


def test_curl_and_python_that_the_page_gives_ask_for_the_same_judgment(open_page: Open) -> None:
    page = open_page()
    example(page, "Product")
    winner = judge(page)[0]
    as_curl = subprocess.run(["bash", "-c", clipboard(page, "curl")], capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(as_curl.stdout)["winner"] == winner
    script = clipboard(page, "Python")
    as_python = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT)
    assert as_python.stdout.split()[0] == winner
    assert json.loads(clipboard(page, "JSON"))["winner"] == winner


def test_votes_are_tabs_that_the_arrow_keys_move_between(open_page: Open) -> None:
    page = open_page()
    example(page, "Counting")
    page.locator("#options-word").click()
    page.get_by_label("Votes").fill("5")
    page.get_by_label("Temperature").fill("1")
    judge(page)
    tabs = page.get_by_role("tab")
    assert tabs.count() >= 3
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    expect(tabs.nth(1)).to_be_focused()
    expect(tabs.nth(1)).to_have_attribute("aria-selected", "true")
    expect(page.locator(".reply")).to_have_count(1)


def test_a_conversation_is_written_turn_by_turn(open_page: Open) -> None:
    page = open_page()
    write(page, "Add 12+13.", "It is 25.", "It is 26.")
    page.get_by_role("button", name="Question: several turns").click()
    page.get_by_role("button", name="+ turn").click()
    page.get_by_label("Question, turn 2", exact=True).fill("Do you mean the sum?")
    page.get_by_role("button", name="+ turn").click()
    page.get_by_label("Question, turn 3", exact=True).fill("Yes.")
    judge(page)
    body = json.loads(re.search(r"-d '(.*)'", clipboard(page, "curl"), re.DOTALL)[1])  # type: ignore[index]
    assert [turn["role"] for turn in body["question"]] == ["user", "assistant", "user"]
    assert body["a"] == "It is 25."


def test_a_pair_outside_the_domain_gets_no_verdict_and_a_plain_message(open_page: Open, picture: Picture) -> None:
    page = open_page()
    example(page, "Outside its world")
    assert "not made for" in judge(page)
    expect(page.locator(".verdict .eyebrow")).to_have_text("No verdict")
    assert page.locator(".axis").count() == 0
    picture(page, "playground-no-verdict")


def test_an_error_says_what_to_do_and_leaves_the_form_as_it_was(open_page: Open) -> None:
    page = open_page(quiet=False)
    page.wait_for_selector(".example")
    page.get_by_label("Response B", exact=True).fill("")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_have_text("Response B is empty.")
    expect(page.get_by_label("Response B", exact=True)).to_be_focused()
    page.get_by_label("Response B", exact=True).fill("It is 4.")
    page.locator("#options-word").click()
    page.get_by_label("Longest reply").fill("99999999")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("max_tokens")
    expect(page.get_by_label("Response B", exact=True)).to_be_editable()
    expect(page.get_by_label("Response B", exact=True)).to_have_value("It is 4.")


def test_after_a_verdict_the_keyboard_stays_in_the_form_and_a_click_on_a_text_edits_it(open_page: Open) -> None:
    page = open_page()
    example(page, "Sum")
    judge(page)
    expect(page.locator("#judge")).to_be_focused()
    page.locator(".response.side-B .reading").click()
    expect(page.get_by_label("Response B", exact=True)).to_be_focused()
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#form.as-read")
    page.get_by_role("region", name="Question, as judged").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_label("Question", exact=True)).to_be_focused()


def test_an_error_is_shown_in_full_strength_also_after_the_texts_were_changed(open_page: Open) -> None:
    page = open_page()
    example(page, "Sum")
    judge(page)
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Response A", exact=True).fill(" ")
    expect(page.locator("#result")).to_have_class("stale")
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("Response A is empty")
    expect(page.locator("#result")).to_have_css("opacity", "1")
    page.get_by_label("Response A", exact=True).fill("x")
    expect(page.locator("#result")).to_have_css("opacity", "1")


def test_the_seconds_are_counted_while_the_judge_is_at_work(open_page: Open) -> None:
    page = open_page(quiet=False)
    example(page, "Sum")
    page.route("**/v1/judge/stream", lambda route: None)  # a slow judge
    page.keyboard.press("Control+Enter")
    expect(page.locator(".verdict.waiting .elapsed")).to_have_text(re.compile(r"[1-9] s"))
    page.keyboard.press("Escape")
    expect(page.locator(".elapsed")).to_have_count(0)


def test_a_judge_of_real_questions_gets_real_questions_as_examples(open_page: Open, gateway: Gateway) -> None:
    page = open_page(None)

    def another(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, body=answer.text().replace('data-world="on"', 'data-world="off"'))

    page.route(gateway.url + "/", another)
    page.goto(gateway.url + "/")
    expect(page.get_by_role("group", name="Examples").get_by_role("button").first).to_have_text("Summary")
    expect(page.get_by_label("Question", exact=True)).to_have_value(re.compile("Bellmar"))
    expect(page.locator("#about")).to_be_hidden()


def test_an_example_says_whether_its_verdict_is_right_until_its_texts_are_changed(open_page: Open) -> None:
    page = open_page()
    example(page, "Sum")
    better = next(shown["better"] for shown in playground_examples.shipped() if shown["name"] == "Sum")
    assert judge(page).startswith(better)
    expect(page.locator(".known")).to_have_text(f"Right: {better} is better, as a program computed.")
    page.get_by_role("button", name="Swap").click()
    judge(page)
    expect(page.locator(".known")).to_have_text(f"Right: {'AB'.replace(better, '')} is better, as a program computed.")
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_label("Response A", exact=True).fill("Answer: 1.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".known")).to_have_count(0)


def test_a_quotation_that_is_not_in_its_response_is_flagged(open_page: Open) -> None:
    page = open_page()
    example(page, "Sum")
    judge(page)
    judgment = json.loads(clipboard(page, "JSON"))
    evaluation = "<quote_A>made up</quote_A><quote_B>818</quote_B>"
    reply = f"<type>Chat</type><eval>{evaluation}</eval><answer>[[A]]</answer>"
    for opinion in judgment["opinions"]:
        opinion["reply"] = reply
        opinion["reading"] |= {"rubric": None, "evaluation": evaluation}
        side = "A" if opinion["order"] == "ab" else "B"
        opinion["reading"]["quotes"] = [{"side": side, "kind": "quote", "text": "made up", "in_response": False}]
    page.evaluate(
        """judgment => import('./static/judgment.js').then(({ JudgmentView }) =>
          new JudgmentView(document.getElementById("result"), { A: "A", B: "B" }).finish(judgment))""",
        judgment,
    )
    expect(page.locator(".reply .quote.missing")).to_have_count(2)
    expect(page.locator(".reply .quote.missing .not-there").first).to_contain_text("not in")
    expect(page.locator(".reply .quote:not(.missing)")).to_have_count(2)
