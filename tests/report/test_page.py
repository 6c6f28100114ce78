import copy
import math
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser

import pytest

from policylearn.report.heatmap import Heatmap
from policylearn.report.inspected import title_of
from policylearn.report.page import WordRow, render_report
from policylearn.report.plots import comparison_plot

VOID = {"meta", "br", "link", "img", "input", "hr"}

RESULT = {
    "metric": "accuracy",
    "seeds": [0, 1, 2],
    "best_round": 1,
    "arms": {
        "random": {"scores": [0.55, 0.57, 0.56], "masked_tokens": [9000] * 3, "seconds": [14.0] * 3},
        "difference": {"scores": [0.79, 0.81, 0.80], "masked_tokens": [9000] * 3, "seconds": [14.0] * 3},
        "learned": {"scores": [0.83, 0.85, 0.846], "masked_tokens": [9000] * 3, "seconds": [15.0] * 3},
        "oracle": {"scores": [0.86, 0.86, 0.87], "masked_tokens": [9000] * 3, "seconds": [14.0] * 3},
    },
    "comparisons": {"learned - difference": {"mean": 0.042, "low": 0.02, "high": 0.06}},
    "extra": {"test_noverlap": {"random": [0.5, 0.5, 0.5], "learned": [0.8, 0.8, 0.8]}},
    "provenance": {"policylearn": "0.1.0", "task": "planted", "command": "policylearn train x.toml --seed 1"},
}
HISTORY = [
    {
        "round": number,
        "outer_loss": 0.7 - 0.01 * number,
        "dev": 0.7 + 0.02 * number,
        "dev_scores": [0.69 + 0.02 * number, 0.71 + 0.02 * number],
        "baselines": {"random": 0.55, "difference": 0.7},
        "entropy": 0.45,
        "reliability": 0.3,
        "seconds": 30.0,
    }
    for number in range(3)
]
EXAMPLES = [
    (
        Heatmap(["[CLS]", "we", "<script>", "##s", "[SEP]"], [math.nan, 0.1, 0.2, 0.3, math.nan]),
        Heatmap(["[CLS]", "we", "<script>", "##s", "[SEP]"], [math.nan, 0.5, 0.05, 0.05, math.nan]),
    )
]
WORDS = [
    WordRow("we", 40, 0.5, 0.1),
    WordRow("</td><script>", 9, 0.01, 0.4),
    WordRow("the", 900, 0.02, 0.02),
    WordRow("of", 99, 0.6, 0.55),
    WordRow("a", 50, 0.005, 0.006),
]


GIVEN = {
    "title": "Planted",
    "config": {"seed": 1},
    "history": HISTORY,
    "result": RESULT,
    "examples": EXAMPLES,
    "words": WORDS,
    "usage": ['collator = MyCollator("runs/mine/policy")'],
}


def render(**changes) -> str:
    return render_report(**{**GIVEN, **changes}) if changes else full()


@cache
def full() -> str:
    return render_report(**GIVEN)


class Page(HTMLParser):
    """Tags with attributes, text per section, and whether every tag is closed in order."""

    def __init__(self, markup: str):
        super().__init__()
        self.tags, self.text, self.open, self.by_id = [], "", [], {}
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        if not any(tag == "style" for tag, _ in self.open):
            for name in {name for _, name in self.open if name} | {""}:
                self.by_id[name] = self.by_id.get(name, "") + data

    def of(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_has_all_its_parts():
    page = Page(render())
    assert len(page.of("svg")) == 2
    assert "Difference-Masking" in page.by_id["comparison"] and "test_noverlap" in page.by_id["comparison"]
    for title in ("dev score per round", "outer loss", "policy entropy", "signal reliability", "round 2"):
        assert title in page.by_id["learning"]
    assert "we <script>s" in page.by_id["examples"]
    for heading in ("Most masked", "Least masked", "Raised most by learning", "Lowered most by learning"):
        assert heading in page.by_id["words"]
    assert page.by_id["command"] == "policylearn train x.toml --seed 1"
    assert page.by_id["config"] == '{\n  "seed": 1\n}'
    assert "3 rounds, 1 min 30 s" in page.by_id["made"]
    assert page.by_id["usage"].strip() == 'collator = MyCollator("runs/mine/policy")'


def test_the_verdict_turns_when_learning_loses():
    losing = copy.deepcopy(RESULT)
    losing["arms"]["learned"]["scores"] = [0.7, 0.71, 0.72]
    losing["comparisons"] = {"learned - difference": {"mean": -0.09, "low": -0.1, "high": -0.08}}
    won, lost = Page(render()), Page(render(result=losing))
    assert "it beats Difference-Masking." in won.by_id["verdict"]
    assert "Difference-Masking beats it." in lost.by_id["verdict"]
    outcome = [[a["data-outcome"] for a in page.of("div") if "data-outcome" in a] for page in (won, lost)]
    assert outcome == [["better"], ["worse"]]


def test_the_best_row_is_the_best_arm_that_is_not_the_oracle():
    rows = re.findall(r'<tr class="(\w*)">\s*<td>.*?</span>([\w-]+)', render())
    assert rows == [("", "random"), ("", "Difference-Masking"), ("best", "learned"), ("oracle", "oracle")]


def test_of_arms_that_are_level_all_are_the_best_and_where_all_are_none_is():
    tied, level = copy.deepcopy(RESULT), copy.deepcopy(RESULT)
    tied["arms"]["difference"]["scores"] = tied["arms"]["learned"]["scores"]
    for arm in ("random", "difference", "learned"):
        level["arms"][arm]["scores"] = [1.0] * 3
    best = [re.findall(r'<tr class="best">\s*<td>.*?</span>([\w-]+)', render(result=each)) for each in (tied, level)]
    assert best == [["Difference-Masking", "learned"], []]


def test_the_same_words_are_not_listed_twice():
    """From a uniform prior, those that are masked most are those that were raised most."""
    words = [WordRow("we", 40, 0.5, 0.1), WordRow("the", 900, 0.6, 0.5)]
    assert "Raised most" in render(words=words)  # in another order
    words = [WordRow("we", 40, 0.5, 0.15), WordRow("the", 900, 0.02, 0.15)]
    both = [
        *words,
        *(WordRow(f"up{i}", 9, 0.4, 0.15) for i in range(15)),
        *(WordRow(f"b{i}", 9, 0.01, 0.15) for i in range(15)),
    ]
    page = render(words=both)
    assert "Most masked" in page and "Least masked" in page
    assert "Raised most" not in page and "Lowered most" not in page


def test_what_scores_the_models_is_said():
    page = Page(render(config={"evaluate": {"downstream": ["probe"], "labelled": 200}}))
    assert (
        "by a linear model of frozen features, from 200 labelled examples of train, and scored on test"
        in page.by_id["comparison"]
    )


def test_nothing_is_fetched():
    markup = render()
    assert not re.search(r"(?i)https?:|//[a-z]|@import|url\((?!#)", markup)
    page = Page(markup)
    fetching = [(tag, a) for tag, a in page.tags if tag in ("script", "link", "img", "iframe", "object")]
    assert fetching == []
    links = [value for _, a in page.tags for key, value in a.items() if key in ("href", "src", "xlink:href")]
    assert all(link.startswith("#") for link in links)


def test_ids_are_unique_and_references_resolve():
    page = Page(render())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = {a["xlink:href"][1:] for a in page.of("use")} | set(re.findall(r"url\(#([^)]+)\)", render()))
    assert used and used <= set(ids)


def test_words_titles_and_configs_can_not_break_out():
    page = Page(render(title="<script>1</script>", config={"a": "</pre><script>"}))
    assert page.of("script") == []
    assert "<script>1</script>" in page.by_id[""] and "</pre><script>" in page.by_id["config"]
    assert "</td><script>" in page.by_id["words"]


def test_plots_take_their_colours_from_the_page():
    svgs = "".join(_svgs(render()))
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", svgs))
    assert colours <= {"none", "currentColor"} | {c for c in colours if c.startswith("var(--")}
    variables = set(re.findall(r"var\((--[\w-]+)\)", render()))
    style = re.search(r"<style>(.*?)</style>", render(), flags=re.DOTALL).group(1)
    light, dark = style.split("prefers-color-scheme: dark")
    given_inline = {"--tone"}
    for theme in (light, dark.split("* {")[0]):
        assert variables - given_inline <= set(re.findall(r"(--[\w-]+):", theme))


def test_what_is_wider_than_the_page_scrolls_and_shows_that_it_does():
    page = render()
    table = page[page.index('id="comparison"') : page.index('id="learning"')]
    assert re.search(r'<div class="scroll" role="region" aria-label="scores" tabindex="0">\s*<table>', table)
    style = re.search(r"<style>(.*?)</style>", page, flags=re.DOTALL).group(1)
    rule = re.search(r"\.scroll, figure, pre \{(.*?)\}", style, flags=re.DOTALL).group(1)
    assert "overflow-x: auto" in rule
    assert rule.count("no-repeat local") == 2  # covers, which move along
    assert rule.count("no-repeat scroll") == 2 and rule.count("var(--shade)") == 2  # shades, which stay at the edges
    assert len(set(re.findall(r"--shade: ([^;]+);", style))) == 2  # dark on light, light on dark


def test_a_prior_as_it_is_is_shown_once_and_nothing_is_said_to_have_changed():
    same = [(prior, prior) for prior, _ in EXAMPLES]
    words = [WordRow(row.word, row.count, row.prior, row.prior) for row in WORDS]
    told = {"provenance": {"prior": "12 · difference", "learned": "nothing: the prior as it is"}, "best_round": -1}
    markup = render(history=[], examples=same, words=words, result={**RESULT, **told, "learned": False})
    page = Page(markup)
    assert page.by_id["examples"].count("we <script>s") == 1 and ">prior</h3>" not in markup
    assert "the policy is its prior as it is" in page.by_id["words"] and ">change</th>" not in markup
    assert "Raised most by learning" not in markup
    assert "No rounds of learning were run." in page.by_id["learning"]
    assert "nothing: the prior as it is" in page.by_id["learning"]


def test_credits_are_learned_in_closed_form_and_explained():
    told = {"provenance": {"prior": "uniform masks", "learned": "2 · credit: expected credit of 9 words"}}
    made = render(history=[], config={"learn": {"stages": ["expected"]}}, result={**RESULT, **told})
    said = Page(made).by_id["learning"]
    assert "Learned in closed form, in no rounds" in said and "No rounds of learning" not in said
    assert "the number before “credit”" in said


def test_no_line_runs_through_a_number():
    """Behind each of a figure is the page's colour, light or dark."""
    numbers = 2 * len(RESULT["arms"]) - 1  # a mean for each arm, a difference for each but the learned one
    assert comparison_plot(RESULT).count("fill: var(--paper)") == numbers


def test_every_seed_is_a_dot():
    before, after = (len(Page(render(result=result)).of("use")) for result in (RESULT, _one_seed_more()))
    assert after - before == 4 + 3  # a score for each arm, a difference for each arm but the learned one


def _one_seed_more() -> dict:
    more = copy.deepcopy(RESULT)
    for arm in more["arms"].values():
        arm["scores"].append(arm["scores"][0])
    return more


def test_ticks_tell_close_scores_apart_and_rounds_are_whole():
    close = {"arms": {"random": {"scores": [0.8011]}, "learned": {"scores": [0.8032]}}}
    comparison, learning = map(_labels, _svgs(render(result=close, history=HISTORY[:1])))
    assert {".8015", ".8020", ".8025"} <= set(comparison)
    assert "1" in learning and not {"0.75", "1.25", "0.8", "1.2"} & set(learning)


def _svgs(markup: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", markup, flags=re.DOTALL)


def _labels(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_the_same_run_gives_the_same_page():
    assert render_report(**GIVEN) == full()


@pytest.mark.parametrize(
    "changes",
    [
        dict(history=[]),
        dict(result={}),
        dict(result={"arms": {"random": {"scores": [0.5]}}, "best_round": None}),
        dict(result={"arms": {"learned": {"scores": [0.5, None]}, "mine": {}, "<b>": {"scores": [0.4, 0.5]}}}),
        dict(result={"arms": {f"arm{i}": {"scores": [0.1 * i]} for i in range(7)}}),
        dict(examples=[], words=[]),
        dict(history=[{"round": 0}]),
        dict(history=[{"round": 4, "dev": None, "baselines": {"mine": 0.3}, "reliability": None}]),
        dict(history=HISTORY[:1], result={**RESULT, "best_round": -1}),
        dict(history=[], result={}, examples=[], words=[], config={}),
    ],
)
def test_missing_parts_do_not_break_the_page(changes):
    page = Page(render(**changes))
    assert page.by_id["verdict"].strip()
    assert not re.search(r"\bnan\b|None|Undefined", page.by_id[""])


def test_reliability_is_drawn_only_where_it_was_measured():
    without = [{key: value for key, value in each.items() if key != "reliability"} for each in HISTORY]
    assert "reliability" not in Page(render(history=without)).by_id["learning"]


def test_unequal_masks_are_admitted():
    uneven = copy.deepcopy(RESULT)
    uneven["arms"]["learned"]["masked_tokens"] = [12000] * 3
    assert "different numbers of tokens" not in render()
    assert "different numbers of tokens" in render(result=uneven)


def test_the_report_needs_neither_torch_nor_the_rest_of_the_package():
    """... and a heatmap in the terminal no plots."""
    code = (
        "import sys, policylearn.report.console, policylearn.report.heatmap\n"
        "assert not {'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "import policylearn.report.page\n"
        "ours = {m for m in sys.modules if m.startswith('policylearn.')}\n"
        "assert all(m.startswith('policylearn.report') for m in ours), ours\n"
        "assert not {'torch', 'transformers', 'ray', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arms_that_differ_in_more_than_masks_are_named():
    assert "which differ" not in full()
    arms = copy.deepcopy(RESULT["arms"])
    first, second, *_ = arms
    arms[first]["course"] = "labels 16"
    said = " ".join(Page(render(result={**RESULT, "arms": arms})).by_id["comparison"].split())
    assert f"but for {first}, which differs in more than masks" in said
    arms[second]["course"] = "texts 0.5"
    said = " ".join(Page(render(result={**RESULT, "arms": arms})).by_id["comparison"].split())
    assert f"but for {first}, {second}, which differ in more than masks" in said


def test_what_dev_had_to_choose_among_is_said():
    kept, one = RESULT | {"best_round": -1}, HISTORY[:1]
    assert "No round was better on dev" in Page(render(result=kept)).by_id["learning"]
    for history, lag in ((one, 0), (HISTORY, 2)):
        said = Page(render(result=kept, history=history, config={"learn": {"lag": lag}})).by_id["learning"]
        assert "All were run with the prior" in said and "better on dev" not in said


@pytest.mark.parametrize(
    "learn, said",
    [
        (
            {},
            "The ring marks round 2, run with the policy as it was after 1 round, which was kept: dev, averaged over",
        ),
        (
            {"lag": 1},
            "The ring marks round 2, run with the policy as it was after 0 rounds, which was kept: dev, averaged",
        ),
        ({"stages": ["supervised"]}, "The ring marks round 2, the policy as it was after 1 pass, which was kept."),
        ({"stages": ["supervised"], "start": "a/run"}, "Round 1 is the policy it started from; before every other"),
    ],
)
def test_the_ring_marks_a_round_by_the_policy_that_it_tried(learn, said):
    assert said in Page(render(config={"learn": learn})).by_id["learning"]


def test_the_page_of_a_policy_of_a_run_is_called_after_the_run(tmp_path, monkeypatch):
    for folder in ("demo/policy", "policies/mine"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    titles = [title_of(policy) for policy in ("demo/policy", "demo", "policies/mine", "org/policy")]
    assert titles == [f"Masking policy: {name}" for name in ("demo", "demo", "mine", "org/policy")]


def test_of_pictures_patches_are_spoken_of_and_fields_are_explained():
    shown = {"pairs": [], "texts": [], "legend": "", "sample": ""}
    page = Page(render(examples=shown, config={"patches": {"zones": 3}}))
    assert "masked patches differs" in page.by_id["comparison"] and "tokens" not in page.by_id["comparison"]
    assert "of the 3 × 3 fields of a picture" in page.by_id["words"]
    assert "fields of a picture" not in full()
