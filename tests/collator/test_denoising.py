"""The collator of encoder–decoders: the masks of `PolicyCollator`, shown in three ways; real models train on it."""

import pickle

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    DataCollatorForSeq2Seq,
    PreTrainedTokenizerFast,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
)

from policylearn.collator.denoising import STYLES, DenoisingCollator, sentinels_of
from policylearn.collator.policy_collator import PolicyCollator
from policylearn.config import PlantedConfig
from policylearn.data.planted import planted_tokenizer
from policylearn.masking import IGNORED
from policylearn.trainers import EpochCallback

SENTINELS = 12


@pytest.fixture(scope="module")
def t5_tokenizer():
    """Words w0 … w39, </s> at the end of a text, and sentinels, the first of which is the mask token."""
    extra = [f"<extra_id_{i}>" for i in range(SENTINELS)]
    words = ["<pad>", "</s>", "<unk>", *(f"w{i}" for i in range(40)), *reversed(extra)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<extra_id_0>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, extra_special_tokens=extra)


@pytest.fixture(scope="module")
def t5_examples(t5_tokenizer):
    draw = torch.Generator().manual_seed(0)
    texts = [" ".join(f"w{i}" for i in torch.randint(40, (n,), generator=draw)) for n in (9, 14, 20, 17)]
    return [{"input_ids": ids} for ids in t5_tokenizer(texts)["input_ids"]]


def at_epoch(collator, epoch=3):
    collator.set_epoch(epoch)
    return collator


def texts_of(batch, real):
    return [row[keep].tolist() for row, keep in zip(batch, real, strict=True)]


@pytest.fixture
def both(saved_policy, trained_examples):
    """`both(style)`: what `PolicyCollator` and `DenoisingCollator` make of the same texts and draws."""

    def make(style, **options):
        kinds = (PolicyCollator, {}), (DenoisingCollator, {"style": style})
        collators = [kind.from_pretrained(saved_policy, seed=5, **more, **options) for kind, more in kinds]
        return [at_epoch(collator)(trained_examples[:6]) for collator in collators]

    return make


def test_masked_tokens_are_shown_as_the_policy_says_and_labels_are_the_text(both, trained_examples):
    plain, found = both("tokens")
    assert torch.equal(found["input_ids"], plain["input_ids"])
    assert torch.equal(found["attention_mask"], plain["attention_mask"])
    assert texts_of(found["labels"], found["labels"] != IGNORED) == [row["input_ids"] for row in trained_examples[:6]]


def test_runs_of_masked_tokens_become_one_mask(both, trained_examples, tokenizer):
    plain, found = both("infilling", mlm_probability=0.4)
    masked = plain["labels"] != IGNORED
    shown = texts_of(found["input_ids"], found["attention_mask"].bool())
    assert texts_of(found["labels"], found["labels"] != IGNORED) == [row["input_ids"] for row in trained_examples[:6]]
    longest = 0
    for text, hidden, row in zip(trained_examples, masked, shown, strict=False):
        expected: list[int] = []
        for token, hide in zip(text["input_ids"], hidden.tolist(), strict=False):
            if not hide:
                expected.append(token)
            elif expected[-1] != tokenizer.mask_token_id:
                expected.append(tokenizer.mask_token_id)
            else:
                longest += 1
        assert row == expected
    assert longest > 0


def test_runs_become_sentinels_and_labels_spell_them_out(t5_tokenizer, t5_examples):
    plain = at_epoch(PolicyCollator(t5_tokenizer, seed=5, mlm_probability=0.4))(t5_examples)
    found = at_epoch(DenoisingCollator(t5_tokenizer, seed=5, mlm_probability=0.4, style="sentinels"))(t5_examples)
    first, end = t5_tokenizer.convert_tokens_to_ids(["<extra_id_0>", "</s>"])
    labels = texts_of(found["labels"], found["labels"] != IGNORED)
    shown = texts_of(found["input_ids"], found["attention_mask"].bool())
    for i, (row, told) in enumerate(zip(shown, labels, strict=True)):
        runs = split_at_sentinels(told[:-1], first)
        assert told[-1] == end and told[-2] == first - len(runs) + 1 and runs[-1] == []
        inserted = [token for x in row for token in (runs[first - x] if first - SENTINELS < x <= first else [x])]
        assert inserted == t5_examples[i]["input_ids"]
        assert sum(map(len, runs)) == int((plain["labels"][i] != IGNORED).sum())
        kept = [t for t, label in zip(inserted, plain["labels"][i].tolist(), strict=False) if label == IGNORED]
        assert [x for x in row if not first - SENTINELS < x <= first] == kept


def split_at_sentinels(told, first):
    """Runs by number; sentinels come in order, each once."""
    runs: list[list[int]] = []
    for token in told:
        if first - SENTINELS < token <= first:
            assert token == first - len(runs)
            runs.append([])
        else:
            runs[-1].append(token)
    return runs


@pytest.mark.parametrize("style", STYLES)
def test_masks_change_with_the_epoch_and_survive_pickling(style, t5_tokenizer, t5_examples):
    collator = DenoisingCollator(t5_tokenizer, style=style, mlm_probability=0.3, return_tensors="np")
    copied = pickle.loads(pickle.dumps(collator))
    first, again, other = (at_epoch(c, e)(t5_examples) for c, e in ((collator, 0), (copied, 0), (collator, 1)))
    assert all((first[name] == again[name]).all() for name in first)
    assert first["input_ids"].shape != other["input_ids"].shape or (first["input_ids"] != other["input_ids"]).any()


def test_widths_are_multiples_and_other_columns_are_kept(t5_tokenizer, t5_examples):
    examples = [{**row, "index": i, "token_type_ids": [0] * len(row["input_ids"])} for i, row in enumerate(t5_examples)]
    collator = DenoisingCollator(t5_tokenizer, style="sentinels", pad_to_multiple_of=8)
    batch = collator(examples)
    assert set(batch) == {"input_ids", "attention_mask", "labels", "index"}
    assert batch["input_ids"].shape[1] % 8 == batch["labels"].shape[1] % 8 == 0
    assert batch["index"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("mlm", [True, False])
def test_labels_are_padded_on_the_right_even_where_texts_are_not(tokenizer, trained_examples, mlm):
    left = pickle.loads(pickle.dumps(tokenizer))
    left.padding_side = "left"
    rows = [trained_examples[0], {"input_ids": trained_examples[1]["input_ids"][:5]}]
    batch = DenoisingCollator(left, mlm=mlm)(rows)
    assert batch["attention_mask"][1, 0] == 0 and batch["labels"][1, 0] != IGNORED
    expected = DataCollatorForSeq2Seq(tokenizer)([{**row, "labels": row["input_ids"]} for row in rows])["labels"]
    assert torch.equal(batch["labels"], expected)


def test_labels_end_as_the_texts_of_a_bert_do():
    """Whose tokenizer ends a text with [SEP], and knows no end of text by that name."""
    tokenizer = planted_tokenizer(PlantedConfig(class_words=5, distractor_words=6, generic_words=30))
    tokenizer.add_tokens([f"<extra_id_{i}>" for i in range(4)], special_tokens=True)
    assert tokenizer.eos_token_id is None
    collator = DenoisingCollator(tokenizer, style="sentinels", mlm_probability=0.3)
    assert collator([{"input_ids": [2, 20, 21, 22, 23, 24, 3]}])["labels"][0, -1] == tokenizer.sep_token_id


@pytest.mark.parametrize("style", STYLES)
def test_a_batch_without_a_word_is_shown_as_it_is(style, t5_tokenizer):
    batch = DenoisingCollator(t5_tokenizer, style=style)([{"input_ids": [1]}])
    assert batch["input_ids"].tolist() == [[1]]
    assert batch["labels"].tolist() == [[sentinels_of(t5_tokenizer)[0], 1] if style == "sentinels" else [1]]


def test_the_style_may_change_at_any_time(t5_tokenizer, t5_examples):
    collator = DenoisingCollator(t5_tokenizer, style="tokens")
    for style in ("sentinels", "infilling", "sentinels", "tokens"):
        collator.style, made = style, DenoisingCollator(t5_tokenizer, style=style)
        collator.set_epoch(1), made.set_epoch(1)
        found, wanted = collator(t5_examples), made(t5_examples)
        assert all(torch.equal(found[name], wanted[name]) for name in ("input_ids", "labels"))


def test_what_cannot_be_is_said(tokenizer, t5_tokenizer, trained_examples):
    with pytest.raises(ValueError, match="style 'spans': take one of tokens, infilling, sentinels"):
        DenoisingCollator(tokenizer, style="spans")
    with pytest.raises(ValueError, match='no <extra_id_0> and <extra_id_1>: take style="infilling"'):
        DenoisingCollator(tokenizer, style="sentinels")
    long = [{"input_ids": list(range(3, 43)) * 3}]
    with pytest.raises(ValueError, match="runs of masked tokens, the tokenizer 12 sentinels"):
        DenoisingCollator(t5_tokenizer, style="sentinels", mlm_probability=0.3)(long)
    packed = {"input_ids": torch.tensor(trained_examples[0]["input_ids"]), "cu_seqlens": torch.tensor([0, 22])}
    with pytest.raises(ValueError, match="documents are packed"):
        DenoisingCollator(tokenizer)(packed)
    with pytest.raises(ValueError, match="model is a str, which makes no decoder_input_ids of labels"):
        DenoisingCollator(tokenizer, model="bart")


NUMBERED = {
    "numbers": {"attention_mask": [1] * 4 + [2] * 3},
    "seq_idx": {"seq_idx": [0] * 4 + [1] * 3},
    "positions": {"position_ids": [0, 1, 2, 3, 0, 1, 2], "attention_mask": [1] * 7},
}


@pytest.mark.parametrize("columns", NUMBERED.values(), ids=NUMBERED)
@pytest.mark.parametrize("mlm", [True, False])
def test_packed_documents_are_not_taken_for_one(tokenizer, columns, mlm):
    with pytest.raises(ValueError, match="documents are packed, which an encoder–decoder does not take apart"):
        DenoisingCollator(tokenizer, mlm=mlm)([{"input_ids": [2, 20, 21, 3, 2, 30, 3], **columns}])


def bart(tokenizer):
    halves = {f"{half}_{name}": n for half in ("encoder", "decoder") for name, n in (("layers", 1), ("ffn_dim", 32))}
    ends = {"eos_token_id": 3, "bos_token_id": 2, "decoder_start_token_id": 3, "forced_eos_token_id": None}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "pad_token_id": 0}
    return BartForConditionalGeneration(BartConfig(vocab_size=len(tokenizer), d_model=16, **halves, **ends, **heads))


def t5(tokenizer):
    shape = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **shape))


@pytest.mark.parametrize(("kind", "style"), [(bart, "infilling"), (bart, "tokens"), (t5, "sentinels")])
def test_real_models_train_on_it(kind, style, tokenizer, t5_tokenizer, trained_examples, t5_examples, tmp_path):
    speaks, examples = (t5_tokenizer, t5_examples * 8) if kind is t5 else (tokenizer, trained_examples)
    torch.manual_seed(0)
    settings = {"max_steps": 24, "per_device_train_batch_size": 8, "learning_rate": 1e-2, "logging_steps": 6}
    quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    trainer = Seq2SeqTrainer(
        kind(speaks),
        Seq2SeqTrainingArguments(str(tmp_path), **settings, **quiet),
        data_collator=DenoisingCollator(speaks, style=style),
        train_dataset=examples,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("mlm", [True, False])
@pytest.mark.parametrize(("kind", "style"), [(bart, "infilling"), (bart, "tokens"), (t5, "sentinels")])
def test_a_model_makes_decoder_input_ids_of_the_labels(kind, style, mlm, tokenizer, t5_tokenizer, trained_examples):
    speaks = t5_tokenizer if kind is t5 else tokenizer
    model = kind(speaks).eval()
    batch = DenoisingCollator(speaks, style=style, mlm=mlm, model=model)([trained_examples[0], {"input_ids": [5, 6]}])
    restored = torch.where(batch["labels"] == IGNORED, speaks.pad_token_id, batch["labels"])
    assert torch.equal(batch["decoder_input_ids"][:, 1:], restored[:, :-1])
    assert torch.allclose(model(**batch).loss, model(**{n: x for n, x in batch.items() if "decoder" not in n}).loss)


def smoothed(tokenizer, examples, folder, model=None):
    """What the decoder of a BART is given where labels are smoothed, and the labels, in order of training."""
    network, seen = bart(tokenizer), []
    collator = DenoisingCollator(tokenizer, mlm_probability=0.4, model=network if model else None)
    network.model.decoder.register_forward_pre_hook(
        lambda _, args, given: seen.append(given["input_ids"]), with_kwargs=True
    )
    settings = {"max_steps": 3, "per_device_train_batch_size": 1, "label_smoothing_factor": 0.1}
    quiet = {"report_to": [], "save_strategy": "no", "disable_tqdm": True, "use_cpu": True}
    arguments = Seq2SeqTrainingArguments(str(folder), **settings, **quiet)
    callbacks = [EpochCallback(collator)]
    Seq2SeqTrainer(network, arguments, data_collator=collator, train_dataset=examples, callbacks=callbacks).train()
    return seen


def test_where_labels_are_smoothed_the_decoder_is_given_the_text(tokenizer, trained_examples, tmp_path):
    given = [row[0, 1:].tolist() for row in smoothed(tokenizer, trained_examples, tmp_path, model=True)]
    texts = [row["input_ids"][:-1] for row in trained_examples]
    assert len(given) == 3 and all(row in texts for row in given)


def test_smoothed_labels_without_the_model_are_refused(tokenizer, trained_examples, tmp_path):
    with pytest.raises(ValueError, match=r"label_smoothing_factor 0\.1 .* DenoisingCollator\(tokenizer, model=model\)"):
        smoothed(tokenizer, trained_examples, tmp_path)
