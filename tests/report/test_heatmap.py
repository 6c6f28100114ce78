import io
import math
import re
from html.parser import HTMLParser

import pytest
from rich.color import Color
from rich.console import Console
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from policylearn.artefact.heatmaps import inspect_texts
from policylearn.report.heatmap import (
    TERMINAL_RAMP,
    Heatmap,
    html_heatmap,
    html_legend,
    marked_heatmap,
    scale_top,
    terminal_heatmap,
    terminal_legend,
)
from policylearn.report.pieces import pieces
from policylearn.scores.heuristic import scorer_policy

NAN = math.nan
COLOUR = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200)
PLAIN = Console(file=io.StringIO(), width=200)

SPELLINGS = {
    "wordpiece": (["[CLS]", "token", "##izer", "##s", "are", "fast", "(", "very", ")", ".", "[SEP]"]),
    "byte level": (["<s>", "token", "izer", "s", "Ġare", "Ġfast", "Ġ(", "very", ")", ".", "</s>"]),
    "sentencepiece": (["<s>", "▁token", "izer", "s", "▁are", "▁fast", "▁", "(", "very", ")", ".", "</s>"]),
}


def heatmap_of(tokens: list[str]) -> Heatmap:
    specials = {"[CLS]", "[SEP]", "<s>", "</s>"}
    return Heatmap(tokens, [NAN if token in specials else 0.1 for token in tokens])


@pytest.mark.parametrize("tokens", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_tokens_of_every_family_read_as_text(tokens):
    heatmap = heatmap_of(tokens)
    assert terminal_heatmap(heatmap, console=COLOUR).plain == "tokenizers are fast (very)."
    assert text_of(html_heatmap(heatmap)) == "tokenizers are fast (very)."


def test_byte_level_letters_come_back():
    assert terminal_heatmap(heatmap_of(["Ġna", "Ã¯", "ve", "Ġcaf", "Ã©"]), console=COLOUR).plain == "naïve café"


def test_only_ineligible_specials_are_dropped():
    tokens = ["[CLS]", "[UNK]", "[SEP]", "</s>"]
    shown = terminal_heatmap(Heatmap(tokens, [NAN, NAN, 0.2, 0.2]), console=COLOUR)
    assert shown.plain == "[UNK] [SEP] </s>"  # a text may contain the letters "[SEP]"
    assert shown.spans[0].style.dim


def test_hotter_tokens_climb_the_ramp():
    tokens = [f"w{i}" for i in range(8)]
    shown = terminal_heatmap(Heatmap(tokens, [i / 10 for i in range(8)]), top=0.7, console=COLOUR)
    levels = [backgrounds(shown).get(token, -1) for token in tokens]
    assert levels == sorted(levels)
    assert levels[0] == -1 and levels[-1] == len(TERMINAL_RAMP) - 1 and len(set(levels)) == 7


def test_pieces_of_a_word_keep_their_own_colour():
    shown = terminal_heatmap(Heatmap(["un", "##like", "##ly"], [0.0, 0.6, 0.3]), console=COLOUR)
    assert shown.plain == "unlikely"
    assert set(backgrounds(shown)) == {"like", "ly"}


@pytest.mark.parametrize("colour", TERMINAL_RAMP)
def test_white_letters_are_readable_on_the_ramp(colour):
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5
    # ... and the ramp stands out from a black terminal as well as from a white one.
    assert (luminance(colour) + 0.05) / 0.05 >= 3


@pytest.mark.parametrize("console", [PLAIN, Console(no_color=True, force_terminal=True)])
def test_without_colours_the_likeliest_words_are_marked(console):
    heatmap = Heatmap(["we", "token", "##ize", "the", "text"], [0.1, 0.2, 0.63, 0.01, 0.4])
    assert terminal_heatmap(heatmap, console=console).plain == "we [tokenize .63] the text"
    assert marked_heatmap(heatmap, marks=2).plain == "we [tokenize .63] the [text .40]"
    assert "[word .63]" in terminal_legend(0.7, console).plain


def test_a_word_that_is_never_masked_is_never_marked():
    assert marked_heatmap(Heatmap(["a", "b"], [0.0, 0.0])).plain == "a b"
    assert marked_heatmap(Heatmap([], [])).plain == ""


def test_words_as_likely_as_each_other_are_marked_together():
    assert marked_heatmap(Heatmap(["a", "b", "c"], [0.15, 0.15, 0.15])).plain == "a b c  [each .15]"
    assert marked_heatmap(Heatmap(["a", "b", "c", "b"], [0.1, 0.3, 0.1, 0.3]), marks=1).plain == "a [b .30] c [b .30]"
    assert marked_heatmap(Heatmap(["a"], [0.15])).plain == "[a .15]"


def test_no_control_codes_without_a_terminal():
    console = Console(file=io.StringIO(), width=80)
    heatmap = heatmap_of(SPELLINGS["wordpiece"])
    console.print(terminal_heatmap(heatmap, console=console), terminal_legend(0.3, console))
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", console.file.getvalue())


def test_html_is_safe_and_says_the_probability():
    shown = html_heatmap(Heatmap(['<script>alert("1")</script>', "##&"], [0.25, 0.5]))
    tags, text = parse(shown)
    assert {tag for tag, _ in tags} == {"span"}
    assert text == '<script>alert("1")</script>&'
    assert [attributes["title"] for _, attributes in tags] == ["0.250", "0.500"]


def test_html_opacity_grows_with_probability_and_stops_at_the_top():
    shown = html_heatmap(Heatmap(["a", "b", "c", "d"], [0.0, 0.2, 0.4, 0.8]), top=0.4)
    opacities = [float(found) for found in re.findall(r",(\.\d+)\)", shown)]
    assert opacities == [0.0, 0.4, 0.8, 0.8]


def test_legends_name_the_top():
    assert terminal_legend(0.6, COLOUR).plain.endswith(".6")
    assert text_of(html_legend(0.6)).startswith("mask probability 0") and text_of(html_legend(0.6)).endswith(".6")


def test_shared_scale():
    assert scale_top(Heatmap(["a"], [0.62]), Heatmap(["a", "b"], [NAN, 0.1])) == 0.7
    assert scale_top(Heatmap(["a"], [1.0])) == 1.0
    assert scale_top() == 0.3


@pytest.mark.parametrize("probabilities", [[0.1], [0.1, 1.5], [-0.1, 0.5]])
def test_impossible_heatmaps_are_refused(probabilities):
    with pytest.raises(ValueError, match="probabilit"):
        Heatmap(["a", "b"], probabilities)


def backgrounds(text) -> dict[str, int]:
    """Shown piece → place in the ramp, for the pieces that have a background."""
    colours = [Color.parse(colour) for colour in TERMINAL_RAMP]
    return {
        text.plain[span.start : span.end]: colours.index(span.style.bgcolor)
        for span in text.spans
        if span.style.bgcolor
    }


def luminance(colour: str) -> float:
    """Relative luminance as in WCAG 2."""
    channels = [part / 255 for part in Color.parse(colour).get_truecolor()]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def parse(markup: str) -> tuple[list[tuple[str, dict]], str]:
    parser = HTMLParser()
    tags, texts = [], []
    parser.handle_starttag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.handle_data = texts.append
    parser.feed(markup)
    parser.close()
    return tags, "".join(texts)


def text_of(markup: str) -> str:
    return parse(markup)[1]


@pytest.mark.parametrize(
    ("tokens", "mark", "read"),
    [
        (["æĪ", "ĳ", "ä»", "¬", "Ã¼ber"], "Ġ", "我们über"),  # no token has a blank to tell bytes by
        (["##", "ĠTitle", "Ġof", "Ġit"], "Ġ", "## Title of it"),  # nor is this WordPiece
        (["Th", "e</w>", "fa", "st</w>", ".</w>"], "</w>", "The fast."),
        (["▁", "<0xC3>", "<0xBC>", "ber", "▁it"], "▁", "über it"),
        (["Ã", "Ġa", "¼"], "Ġ", "\ufffd a\ufffd"),
    ],
)
def test_tokens_read_as_text_by_the_mark_of_their_tokenizer(tokens, mark, read):
    heatmap = Heatmap(tokens, [0.1] * len(tokens), mark)
    assert terminal_heatmap(heatmap, console=COLOUR).plain == text_of(html_heatmap(heatmap)) == read


def test_parts_of_a_character_are_as_likely_as_the_likeliest():
    assert marked_heatmap(Heatmap(["æĪ", "ĳ", "Ġa"], [0.1, 0.3, 0.2], "Ġ")).plain == "[我 .30] a"


def test_a_character_that_is_cut_swallows_nothing_behind_it():
    shown = pieces(["cinÃ", "Ġla", "Ġâ", "Ģ", "b"], [0.2, 0.9, 0.1, 0.3, 0.4], "Ġ")
    read = [("cin\ufffd", 0.2), ("la", 0.9), ("\ufffd", 0.3), ("b", 0.4)]
    assert [(piece.text, piece.probability) for piece in shown] == read


def test_a_vowel_sign_does_not_end_a_word():
    assert marked_heatmap(Heatmap(["▁हि", "न्दी", "▁में"], [0.3, 0.1, 0.1])).plain == "[हिन्दी .30] में"


def test_texts_of_a_policy_are_read_as_its_tokenizer_spells():
    letters = {piece: i for i, piece in enumerate(["<unk>", "[MASK]", *pre_tokenizers.ByteLevel.alphabet()])}
    backend = Tokenizer(models.BPE(letters, [], unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", mask_token="[MASK]")
    tokenizer.add_tokens(["ciné"])  # of which é, if it were a byte, would begin a character
    policy = scorer_policy("idf", tokenizer, ["我们", "习惯"] * 5).policy
    for text in ("我们习惯", "le ciné la"):
        for heatmap in inspect_texts(policy, tokenizer, [text])[0]:
            assert terminal_heatmap(heatmap, console=COLOUR).plain == text
