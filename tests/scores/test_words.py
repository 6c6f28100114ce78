import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from policylearn.scores.words import word_like

TEXT = (
    "we parse the parser of a treebank and parsing parsers parse treebanks 12 3d : we evaluate I evaluated "
    "annotation , annotators annotate grammars a grammar lexical lexicon semantics semantic roles 2019 role . "
    "über naïve"
)
SPECIALS = ["[PAD]", "[UNK]", "[MASK]"]


def wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator([TEXT] * 20, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIALS))
    return tokenizer


def byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIALS, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    return tokenizer


def unigram() -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIALS, unk_token="[UNK]")
    tokenizer.train_from_iterator([TEXT] * 20, trainer)
    return tokenizer


@pytest.mark.parametrize(
    ("train", "words", "others"),
    [
        (wordpiece, ["parser", "tree", "treebank", "naïve"], ["a", ".", "12", "2019", "##e", "##er"]),
        (byte_bpe, ["Ġparser", "Ġtreebank", "Ġand", "ĠÃ¼ber"], ["Ġa", "ĠI", "Ġ12", "Ġ.", "Ġ:", "er", "we", "Ã¼"]),
        (unigram, ["▁parser", "▁treebank", "▁role"], ["▁a", "▁t", "▁", "a", "parser", "."]),
    ],
)
def test_words_are_what_begins_a_word_and_has_two_letters(train, words, others):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=train(), pad_token="[PAD]", mask_token="[MASK]")
    found, vocabulary = word_like(tokenizer), tokenizer.get_vocab()
    assert len(found) == len(tokenizer)
    assert {word for word in words if found[vocabulary[word]]} == set(words)
    # Training decides which pieces there are; enough of those named here are.
    others = [other for other in others if other in vocabulary]
    assert len(others) >= 4 and not any(found[vocabulary[other]] for other in others)


def test_every_word_of_a_word_level_vocabulary_is_one(tokenizer):
    vocabulary, found = tokenizer.get_vocab(), word_like(tokenizer)
    assert all(found[i] for word, i in vocabulary.items() if not word.startswith("["))
