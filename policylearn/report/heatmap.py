"""A text coloured by how likely each token is to be masked: in the terminal and as HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import rich
from rich.console import Console
from rich.style import Style
from rich.text import Text

from policylearn.report.formats import score
from policylearn.report.pieces import Piece, pieces, words
from policylearn.report.printing import new_console

# Backgrounds from rarely to often masked. All of one middle lightness, so that they stand out from black and
# from white terminals alike, and white letters are readable on each; below the first there is no colour.
TERMINAL_RAMP = ("#64748b", "#5b67b8", "#7c53b5", "#a8408f", "#c53a55", "#cc4a0c")
HTML_HEAT = (234, 88, 12)
# Fully opaque heat would drown the letters in dark mode.
HTML_OPACITY = 0.8


@dataclass(frozen=True)
class Heatmap:
    """One tokenized text and its mask probabilities.

    tokens: n strings as the tokenizer spells them. probabilities: n floats in [0, 1], NaN for tokens that
    can not be masked (special tokens). mark: what the tokenizer marks words with, see `masking.vocabulary.mark_of`;
    None: it is guessed.
    """

    tokens: list[str]
    probabilities: list[float]
    mark: str | None = None

    @property
    def pieces(self) -> list[Piece]:
        """The tokens as a person reads them."""
        return pieces(self.tokens, self.probabilities, self.mark)

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.probabilities):
            raise ValueError(f"{len(self.tokens)} tokens, but {len(self.probabilities)} probabilities")
        wrong = [p for p in self.probabilities if not (math.isnan(p) or 0 <= p <= 1 + 1e-6)]
        if wrong:
            raise ValueError(f"a mask probability lies in [0, 1], not {wrong[0]}")


def scale_top(*heatmaps: Heatmap) -> float:
    """The probability that gets the strongest colour when these heatmaps share one scale.

    The largest one, rounded up to a tenth, and at least .3, so that an even .15 does not look like a peak.

    >>> scale_top(Heatmap(["a", "b"], [0.41, 0.1])), scale_top(Heatmap(["a"], [0.15]))
    (0.5, 0.3)
    """
    finite = [p for heatmap in heatmaps for p in heatmap.probabilities if not math.isnan(p)]
    return min(1.0, max(0.3, math.ceil(max(finite, default=0.0) * 10 - 1e-6) / 10))


def terminal_heatmap(heatmap: Heatmap, top: float | None = None, console: Console | None = None) -> Text:
    """The text with a background colour by mask probability.

    top: the probability of the strongest colour (default: `scale_top`). console: where it will be printed
    (default: rich's own); one that shows no colours (a file, NO_COLOR) gets `marked_heatmap` instead.

    >>> heatmap = Heatmap(["[CLS]", "we", "token", "##ize"], [float("nan"), 0.05, 0.6, 0.6])
    >>> terminal_heatmap(heatmap, console=Console(no_color=True)).plain
    'we [tokenize .60]'
    """
    if not shows_colour(console or rich.get_console()):
        return marked_heatmap(heatmap)
    text = Text()
    for piece in heatmap.pieces:
        text.append(" " * piece.space)
        text.append(piece.text, _terminal_style(piece.probability, top or scale_top(heatmap)))
    return text


def marked_heatmap(heatmap: Heatmap, marks: int | None = None) -> Text:
    """The text without colours, its most likely words written as ``[word .63]``.

    marks: how many words; by default as many as the policy masks on average (at least one). Those that are as likely as
    the last of them are marked too; where all are, this is said once.

    >>> marked_heatmap(Heatmap(["a", "##b", "c", "d"], [0.1, 0.5, 0.3, 0.1])).plain
    '[ab .50] c d'
    >>> marked_heatmap(Heatmap(["a", "b"], [0.15, 0.15])).plain
    'a b  [each .15]'
    """
    shown = words(heatmap.pieces)
    likely = _likeliest(shown, _usual_marks(shown) if marks is None else marks)
    alike = len(shown) > 1 and len({score(_peak(word), 2) for word in shown}) == 1 and bool(likely)
    likely = set() if alike else likely
    text = Text()
    for place, word in enumerate(shown):
        plain = "".join(piece.text for piece in word)
        text.append(" " * word[0].space)
        text.append(f"[{plain} {score(_peak(word), 2)}]" if place in likely else plain)
    return text.append(f"  [each {score(_peak(shown[0]), 2)}]") if alike else text


def terminal_legend(top: float, console: Console | None = None) -> Text:
    """One line that says what the colours (or the brackets) of `terminal_heatmap` mean.

    >>> terminal_legend(0.6, Console(no_color=True)).plain
    '[word .63] = the likeliest words to be masked, with their probability'
    """
    if not shows_colour(console or rich.get_console()):
        return Text("[word .63] = the likeliest words to be masked, with their probability")
    text = Text("mask probability  0 ")
    for level in range(len(TERMINAL_RAMP) + 1):
        middle = (level + 0.5) / (len(TERMINAL_RAMP) + 1) * top
        text.append("  ·  " if level == 0 else "     ", _terminal_style(middle, top))
    return text.append(f" {score(top, 1)}")


def print_heatmaps(console: Console, pairs: Sequence[tuple[Heatmap, Heatmap]]) -> None:
    """Texts as (prior, learned) heatmaps on one scale, with what the colours mean; where both are the same, as of
    policies that are all in their scores, each is shown once, and without a name."""
    top = scale_top(*(heatmap for pair in pairs for heatmap in pair))
    alike = all(str(prior) == str(learned) for prior, learned in pairs)  # NaN is like NaN there
    for prior, learned in pairs:
        for name, heatmap in (("", learned),) if alike else (("prior", prior), ("learned", learned)):
            if name:
                console.print(f"[bold]{name}[/]")
            console.print(terminal_heatmap(heatmap, top, console))
    console.print(terminal_legend(top, console))


@dataclass(frozen=True, repr=False)
class Shown:
    """Heatmaps that show themselves: in colours in a notebook and a terminal that has some, else with brackets.

    >>> Shown((Heatmap(["we", "token", "##ize"], [0.05, 0.6, 0.6]),))
    we [tokenize .60]
    [word .63] = the likeliest words to be masked, with their probability
    """

    heatmaps: tuple[Heatmap, ...]

    def __repr__(self) -> str:
        console, top = new_console(force_jupyter=False), scale_top(*self.heatmaps)
        with console.capture() as said:
            for heatmap in self.heatmaps:
                console.print(terminal_heatmap(heatmap, top, console))
            console.print(terminal_legend(top, console))
        return said.get().rstrip("\n")

    def _repr_html_(self) -> str:
        top = scale_top(*self.heatmaps)
        return "".join(f"<p>{html_heatmap(heatmap, top)}</p>" for heatmap in self.heatmaps) + html_legend(top)


def html_heatmap(heatmap: Heatmap, top: float | None = None) -> str:
    """The text as ``<span>``s, safe to put into any page: no style sheet needed, light or dark.

    >>> html_heatmap(Heatmap(["a<b", "##c"], [0.15, 0.3]), top=0.3)
    '<span title="0.150" style="background:rgba(234,88,12,.40)">a&lt;b</span>\
<span title="0.300" style="background:rgba(234,88,12,.80)">c</span>'
    """
    return "".join(_html_pieces(heatmap, top or scale_top(heatmap)))


def html_legend(top: float) -> str:
    """A small colour bar from 0 to `top` (a probability) for `html_heatmap`."""
    heat = ",".join(map(str, HTML_HEAT))
    bar = f"background:linear-gradient(to right,rgba({heat},0),rgba({heat},{HTML_OPACITY}))"
    box = "display:inline-block;width:8em;height:.8em;margin:0 .4em;border:1px solid rgba(128,128,128,.5)"
    drawn = f'<span style="{box};{bar}"></span>'
    return f'<span style="white-space:nowrap">mask probability 0{drawn}{score(top, 1)}</span>'


def shows_colour(console: Console) -> bool:
    """Whether colours printed there arrive: a terminal that has some, and nobody who asked for none."""
    return console.color_system is not None and not console.no_color


def _html_pieces(heatmap: Heatmap, top: float) -> Iterator[str]:
    for piece in heatmap.pieces:
        yield " " * piece.space
        text = html.escape(piece.text)
        if not piece.eligible:
            yield f'<span title="never masked" style="opacity:.5">{text}</span>'
            continue
        opacity = score(min(piece.probability / top, 1.0) * HTML_OPACITY, 2)
        colour = f"rgba({','.join(map(str, HTML_HEAT))},{opacity})"
        yield f'<span title="{piece.probability:.3f}" style="background:{colour}">{text}</span>'


def _terminal_style(probability: float, top: float) -> Style:
    if math.isnan(probability):
        return Style(dim=True)
    level = min(int(probability / top * (len(TERMINAL_RAMP) + 1)), len(TERMINAL_RAMP))
    return Style(color="#ffffff", bgcolor=TERMINAL_RAMP[level - 1]) if level else Style()


def _usual_marks(shown: list[list[Piece]]) -> int:
    """How many words the policy masks on average, taken from the mean probability per token."""
    eligible = [piece.probability for word in shown for piece in word if piece.eligible]
    return max(1, round(sum(eligible) / max(1, len(eligible)) * len(shown)))


def _likeliest(shown: list[list[Piece]], marks: int) -> set[int]:
    """Places of so many words, and of those that are as likely as the last of these."""
    peaks = {place: round(_peak(word), 2) for place, word in enumerate(shown) if _peak(word) > 0}
    least = sorted(peaks.values(), reverse=True)[:marks][-1:]
    return {place for place, peak in peaks.items() if [peak] >= least}


def _peak(word: list[Piece]) -> float:
    return max((piece.probability for piece in word if piece.eligible), default=0.0)
