"""Tokenizer, model and length of text: what does not go together is known before any text is read."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, PreTrainedTokenizerFast
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES

from policylearn.config import load_config
from policylearn.data.planted import SPECIALS
from policylearn.models.agreement import usable_positions
from policylearn.models.whole import inner_model
from policylearn.problems.of_config import problem_of
from policylearn.scores.heuristic import scorer_policy

SHAPE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
WORDS = [f"w{i}" for i in range(30)]


def word_tokenizer(words) -> PreTrainedTokenizerFast:
    names = ["pad_token", "unk_token", "cls_token", "sep_token", "mask_token"]
    level = models.WordLevel({word: i for i, word in enumerate([*SPECIALS, *words])}, unk_token="[UNK]")
    tokenizer = Tokenizer(level)
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **dict(zip(names, SPECIALS, strict=True)))


def build(kind="bert", positions=32, **fields):
    config = {**SHAPE, "vocab_size": len(WORDS) + 5, "max_position_embeddings": positions, "pad_token_id": 0, **fields}
    torch.manual_seed(0)
    return AutoModelForMaskedLM.from_config(AutoConfig.for_model(kind, **config)).eval()


@pytest.fixture
def folder(tmp_path):
    """`folder(name, words, kind, …)`: a checkpoint with its tokenizer; either is left out where it is None."""

    def write(name, words=WORDS, kind="bert", **fields):
        place = tmp_path / name
        if kind is not None:
            build(kind, **fields).save_pretrained(place)
        if words is not None:
            word_tokenizer(words).save_pretrained(place)
        return str(place)

    return write


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(" ".join(WORDS[i : i + 9]) for i in range(20)))
    return str(tmp_path / "texts.txt")


def problem(*settings, corpus="none.txt", tell=print):
    paths = [f"domain.path={corpus}", f"general.path={corpus}", "task.path=none"]
    return problem_of(load_config(None, [*paths, "model.max_length=16", *settings]), tell=tell)


KINDS = [
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "mpnet",
    "electra",
    "deberta-v2",
    "nystromformer",
    "mra",
    "ibert",
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pad", [0, 1])
def test_as_many_positions_as_a_model_can_be_run_on(kind, pad):
    model = build(kind, pad_token_id=pad)
    usable = usable_positions(model)
    ids = torch.full((1, usable), 7)
    inner_model(model)(ids, ids > 0)
    longer = torch.full((1, usable + 1), 7)
    with pytest.raises((IndexError, RuntimeError)):
        inner_model(model)(longer, longer > 0)


def test_relative_and_rotary_positions_have_no_end():
    assert usable_positions(build("modernbert", cls_token_id=2, sep_token_id=3)) is None
    assert usable_positions(build("deberta-v2", position_biased_input=False, relative_attention=True)) is None
    t5 = AutoConfig.for_model("t5", vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    assert usable_positions(AutoModelForSeq2SeqLM.from_config(t5)) is None


LAYERS = ("encoder_layers", "decoder_layers", "num_layers", "num_decoder_layers")


@pytest.mark.parametrize("kind", MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
def test_positions_of_any_encoder_decoder_can_be_told(kind):
    """Some have sinusoids, which are no table of weights."""
    try:
        config = AutoConfig.for_model(kind)
        for name in filter(lambda name: hasattr(config, name), LAYERS):
            setattr(config, name, 1)
        with torch.device("meta"):
            model = AutoModelForSeq2SeqLM.from_config(config)
    except Exception as error:  # transformers' own: some have no model of their default config
        pytest.skip(f"{kind}: {error}")
    positions = usable_positions(model)
    assert positions is None or positions > 0


def test_a_length_beyond_the_positions_is_refused_before_anything_is_read(folder):
    with pytest.raises(ValueError, match=r"^model\.max_length 64: the model has 32 positions; set model\.max_l"):
        _ = problem(f"model.name={folder('bert')}", "model.max_length=64").domain  # whose file is not there
    with pytest.raises(ValueError, match=r"the model has 30 positions"):
        _ = problem(f"model.name={folder('roberta', kind='roberta', pad_token_id=1)}", "model.max_length=31").domain
    fields = 'model.architecture={model_type="bert", hidden_size=16, num_attention_heads=2, max_position_embeddings=20}'
    with pytest.raises(ValueError, match=r"the model has 20 positions"):
        _ = problem(f"model.tokenizer={folder('words', kind=None)}", fields, "model.max_length=21").tokenizer


def test_a_roberta_from_scratch_has_positions_for_its_texts_wherever_padding_stands(tmp_path):
    architecture = 'model.architecture={model_type="roberta", hidden_size=16, num_attention_heads=2}'
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = "w3"
    tokenizer.save_pretrained(tmp_path)
    model = problem(f"model.tokenizer={tmp_path}", architecture).fresh_model(0)
    assert usable_positions(model.mlm) == 16


def test_a_tokenizer_of_another_model_is_refused(folder):
    model, other = folder("model"), folder("other", WORDS[::-1], kind=None)
    with pytest.raises(ValueError, match=r"is not the tokenizer of model\.name .*id 5 is 'w0' in the one and 'w29'"):
        _ = problem(f"model.name={model}", f"model.tokenizer={other}").tokenizer
    same = folder("same", kind=None)
    assert len(problem(f"model.name={model}", f"model.tokenizer={same}").tokenizer) == 35
    unset = problem(f"model.tokenizer={other}", f"model.name={model}", "model.tokenizer=")
    assert unset.tokenizer.convert_tokens_to_ids("w0") == 5


def test_a_tokenizer_that_masks_with_padding_is_refused(folder, tmp_path):
    tokenizer = word_tokenizer(WORDS)
    tokenizer.pad_token = "[MASK]"
    tokenizer.save_pretrained(tmp_path / "both")
    with pytest.raises(ValueError, match=r"both' has one token, '\[MASK\]', for masking and padding"):
        _ = problem(f"model.name={folder('bare', words=None)}", f"model.tokenizer={tmp_path}/both").tokenizer


@pytest.mark.parametrize("letters", ["CG", "acgt"])
def test_a_tokenizer_that_fails_on_what_it_does_not_know_is_refused(tmp_path, letters):
    words = ["[PAD]", "[MASK]", *letters]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="[PAD]", mask_token="[MASK]").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"model\.tokenizer '.*' cannot read .*Missing \[UNK\].* give .* an unk_token"):
        _ = problem("model.architecture={model_type = 'bert'}", f"model.tokenizer={tmp_path}").tokenizer


def test_a_tokenizer_with_more_tokens_needs_their_embeddings(folder):
    model, larger = folder("model"), folder("larger", [*WORDS, "new", "words"], kind=None)
    with pytest.raises(ValueError, match=r"35 token embeddings, but the tokenizer has 37 tokens"):
        _ = problem(f"model.name={model}", f"model.tokenizer={larger}").domain
    resized = folder("resized", vocab_size=40)
    assert len(problem(f"model.name={resized}", f"model.tokenizer={larger}").tokenizer) == 37


def test_a_folder_without_a_tokenizer_is_not_given_one_that_knows_no_word(folder):
    with pytest.raises(ValueError, match=r"model\.name .* comes without the vocabulary of a tokenizer: set model\.tok"):
        _ = problem(f"model.name={folder('bare', words=None)}").tokenizer


def test_a_tokenizer_that_may_be_another_models_is_told(folder):
    """A checkpoint without one takes any that is small enough; ids that are named in its config may contradict."""
    other, told = folder("other", WORDS[:9], kind=None), []
    own = folder("own", vocab_size=64, pad_token_id=0), folder("odd", pad_token_id=3)
    bare = folder("bare", words=None, pad_token_id=3), folder("fits", words=None, vocab_size=14)
    for name in (own[0], *bare):
        _ = problem(f"model.name={name}", f"model.tokenizer={other}", tell=told.append).tokenizer
    _ = problem(f"model.name={own[1]}", tell=told.append).tokenizer
    ids = "pad_token_id is 3 in its config and 0, '[PAD]', in the tokenizer"
    less = "it brings no tokenizer to compare model.tokenizer with, and has 35 tokens, this one 14"
    assert told == [
        f"model  {bare[0]}: {ids}; {less}: is the tokenizer its own?",
        f"model  {own[1]}: {ids}: is the tokenizer its own?",
    ]


def test_a_scorer_straight_from_texts_is_guarded_as_well(folder, corpus):
    model, other = folder("model"), word_tokenizer(WORDS[::-1])
    with pytest.raises(ValueError, match=r"the tokenizer is not that of model .*: id 5 is 'w0' in the one"):
        scorer_policy("loss", other, corpus, model=model)
    with pytest.raises(ValueError, match="35 token embeddings, but the tokenizer has 36"):
        scorer_policy("loss", word_tokenizer([*WORDS, "new"]), corpus, model=build())


def test_rows_of_a_scorer_are_no_longer_than_the_model_reads(folder, tmp_path):
    (tmp_path / "long.txt").write_text(" ".join(WORDS * 9))
    tokenizer = word_tokenizer(WORDS)
    for model in (folder("model"), build(), build("roberta", pad_token_id=1)):
        found = scorer_policy("loss", tokenizer, tmp_path / "long.txt", model=model)
        assert found.policy.probabilities(torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.bool)).sum() > 0
