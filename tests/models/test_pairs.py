"""Pairs of texts as rows of ids alone, against what transformers' own tokenizers and models make of them."""

import pytest
import torch
from transformers import (
    AlbertTokenizer,
    AutoConfig,
    AutoModelForMaskedLM,
    BertTokenizer,
    DebertaV2Tokenizer,
    RobertaTokenizer,
)

from policylearn.data.pairs import check_separators, second_text, separator_of
from policylearn.data.tokens import tokenize
from policylearn.inner.causal_lm import backwards
from policylearn.models.whole import inner_model

WORDS = ["the", "dog", "cat", "runs", "sleeps"]
PAIRS = [("the dog", "cat runs"), ("the cat sleeps the dog runs the cat", "dog"), ("dog", ""), ("runs", "the " * 9)]
PIECES = [(f"▁{word}", -1.0 - i) for i, word in enumerate(WORDS)]
LETTERS = {letter: 5 + i for i, letter in enumerate(sorted({*"Ġ".join(WORDS)}))}


def with_pieces(*special):
    return [*((token, 0.0) for token in special), *PIECES]


TOKENIZERS = {
    "bert": lambda: BertTokenizer(
        vocab={word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    ),
    "albert": lambda: AlbertTokenizer(vocab=with_pieces("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")),
    "deberta-v2": lambda: DebertaV2Tokenizer(vocab=with_pieces("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")),
    "roberta": lambda: RobertaTokenizer(
        vocab={"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "<mask>": 4, **LETTERS}, merges=[]
    ),
}


def tiny(kind, vocab_size, **fields):
    torch.manual_seed(0)
    common = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = AutoConfig.for_model(kind, vocab_size=vocab_size, initializer_range=0.5, **common, **fields)
    return AutoModelForMaskedLM.from_config(config).eval()


@pytest.mark.parametrize(
    ("kind", "types", "fields"),
    [
        ("bert", True, {}),
        ("bert", False, {}),  # as the tokenizer of a DistilBERT
        ("albert", False, {"embedding_size": 8}),  # as transformers has it since version 5
        ("albert", True, {"embedding_size": 8}),
        ("deberta-v2", True, {}),  # whose config knows no types
        ("deberta-v2", True, {"type_vocab_size": 2}),
        ("roberta", False, {"type_vocab_size": 1}),
    ],
)
def test_a_model_says_of_a_pair_what_it_says_in_transformers(kind, types, fields):
    tokenizer, mlm = TOKENIZERS[kind](), tiny(kind, 40, **fields)
    tokenizer.model_input_names = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    limits = {"padding": True, "truncation": True, "max_length": 12}
    own = tokenizer(*map(list, zip(*PAIRS, strict=True)), **limits, return_tensors="pt")
    rows, model = tokenize(PAIRS, tokenizer, 12), inner_model(mlm)
    ids, real = rows.batch(range(4), tokenizer.pad_token_id)
    assert torch.equal(ids, own["input_ids"]) and torch.equal(real.long(), own["attention_mask"])
    assert rows.cut == (3 if kind == "roberta" else 1)
    with torch.no_grad():
        theirs = mlm(**own, output_hidden_states=True).hidden_states[-1][real]
        untold = model.encode(ids, real)[real]
        model.read_pairs(separator_of(tokenizer))
        torch.testing.assert_close(model.encode(ids, real)[real], theirs, rtol=0, atol=1e-6)
    assert torch.allclose(untold, theirs, atol=1e-3) == (not types or mlm.config.type_vocab_size == 0)


def test_types_are_those_of_a_text_that_looks_back_too():
    ids = torch.tensor([[2, 7, 3, 8, 3, 0]])
    real = ids > 0
    assert second_text(ids, backwards(real), 3).tolist() == second_text(ids, real, 3).tolist() == [[0, 0, 0, 1, 1, 0]]


def test_a_separator_within_a_text_is_refused_with_its_row():
    tokenizer = TOKENIZERS["bert"]()
    rows = tokenize([PAIRS[0], ("the [SEP] dog", "cat")], tokenizer, 12)
    with pytest.raises(ValueError, match=r"task, row 1: a text of the pair holds '\[SEP\]', .*take it out"):
        check_separators(rows, tokenizer, "task")
    check_separators(tokenize([("the </s> dog", "cat")], TOKENIZERS["roberta"](), 20), TOKENIZERS["roberta"](), "task")


def test_types_of_another_kind_are_refused():
    tokenizer = TOKENIZERS["bert"]()
    tokenizer.sep_token = "the"
    with pytest.raises(
        ValueError, match=r"types \[0, 0, 0, 1, 1\], which are not 0 up to a separator.*as in task\.text="
    ):
        separator_of(tokenizer)
