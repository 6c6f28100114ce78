import copy
import json

import datasets
import pytest
import torch
from scipy.stats import spearmanr
from torch.utils.data import DataLoader

from policylearn import PolicyCollator, load_policy, save_policy
from policylearn.artefact import PolicyArtefact
from policylearn.collator.distil import annotate, columns_of, fidelity, spearman, table_policy, to_table
from policylearn.collator.padding import Padding

WORDS = ["class0_01", "class0_02", "class1_00", "distractor_02", *(f"generic_{i:03d}" for i in range(20))]


def texts_of(count: int, seed: int = 0, words=WORDS) -> list[str]:
    draw = torch.Generator().manual_seed(seed)
    return [" ".join(words[i] for i in torch.randint(len(words), (9,), generator=draw)) for _ in range(count)]


@pytest.fixture
def artefact_of(make_policy, tokenizer):
    return lambda *args, **settings: PolicyArtefact(make_policy(*args, learned=True, **settings), tokenizer)


@pytest.fixture
def examples(tokenizer):
    return [{"input_ids": tokenizer(text)["input_ids"], "id": i} for i, text in enumerate(texts_of(20, seed=1))]


def encoded(tokenizer, texts):
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    return batch["input_ids"], batch["attention_mask"].bool()


@pytest.mark.parametrize("unit", ["token", "word", "span"])
def test_a_table_with_scores_of_types_is_its_own_table_to_the_last_bit(artefact_of, tokenizer, unit):
    artefact = artefact_of("table", ("difference", "tficf"), masking={"unit": unit, "design": "explore"})
    found = to_table(artefact, texts_of(60))
    ids, real = encoded(tokenizer, texts_of(8, seed=5, words=[*WORDS, "generic_029", "class0_00"]))
    assert torch.equal(found.artefact.policy(ids, real), artefact.policy(ids, real).detach())
    p = found.artefact.policy.probabilities(ids, real)
    assert torch.equal(p, artefact.policy.probabilities(ids, real).detach())
    assert (found.fidelity.overlap, found.fidelity.rank_correlation, found.fidelity.texts) == (1.0, 1.0, 6)
    assert found.artefact.policy.masking == artefact.policy.masking


def test_the_table_of_a_context_network_holds_mean_logits(artefact_of, tokenizer):
    artefact, texts = artefact_of("context"), texts_of(40)
    found, sums, counts = to_table(artefact, texts), {}, {}
    for place, text in enumerate(texts):
        ids, real = encoded(tokenizer, [text])
        if place % 10:
            for i, logit in zip(ids[0].tolist(), artefact.policy(ids, real)[0].tolist(), strict=True):
                sums[i], counts[i] = sums.get(i, 0) + logit, counts.get(i, 0) + 1
    table = found.artefact.policy.scores.types[0]
    assert len(counts) > 15
    for i, total in sums.items():
        assert float(table[i]) == pytest.approx(total / counts[i], abs=1e-5)
    unseen = tokenizer.convert_tokens_to_ids("generic_029")
    assert unseen not in counts
    alone = torch.tensor([[unseen]])
    assert float(table[unseen]) == pytest.approx(float(artefact.policy(alone, alone > 0)), abs=1e-5)


def test_fidelity_falls_with_what_a_table_cannot_say(artefact_of, make_policy, tokenizer):
    artefact, texts = artefact_of("context"), texts_of(200)
    good = to_table(artefact, texts).fidelity
    rows = [torch.tensor(tokenizer(text)["input_ids"]) for text in texts[::10]]
    noise = table_policy(artefact.policy, torch.randn(len(tokenizer), generator=torch.Generator().manual_seed(9)))
    bad = fidelity(artefact.policy, noise, rows)
    assert 0.8 < good.overlap < 1 and 0.5 < good.rank_correlation < 1
    assert bad.overlap < good.overlap and bad.rank_correlation < 0.4
    assert good.texts == len(rows)
    assert str(good).startswith(
        f"{100 * good.overlap:.1f} % of the policy's masks, rank correlation .".replace("n .", "n 0.")
    )


def test_overlap_is_the_share_of_masks_in_common(make_policy, tokenizer):
    """Two tables that want the opposite, by hand."""
    logits = torch.zeros(len(tokenizer))
    logits[tokenizer.convert_tokens_to_ids("generic_001")] = 1.0
    one, other = (table_policy(make_policy(rate=0.5), sign * logits) for sign in (1, -1))
    row = torch.tensor(tokenizer("generic_001 generic_002")["input_ids"])
    p, q = (policy.probabilities(row[None], row[None] > 0)[0, 1:3] for policy in (one, other))
    found = fidelity(one, other, [row])
    assert found.overlap == pytest.approx(float(p.minimum(q).sum())) and 0.7 < found.overlap < 0.8
    assert found.rank_correlation == -1


def test_ranks_are_those_of_scipy():
    draw = torch.Generator().manual_seed(0)
    for n in (2, 5, 30):
        p, q = (torch.randint(6, (n,), generator=draw) / 10 for _ in range(2))
        if p.unique().numel() > 1 and q.unique().numel() > 1:
            assert spearman(p, q) == pytest.approx(spearmanr(p, q).statistic, abs=1e-6)


def test_a_prior_by_rank_gives_unseen_types_the_mean(artefact_of, tokenizer):
    found = to_table(artefact_of("none", ("difference:rank",)), texts_of(60))
    table = found.artefact.policy.scores.types[0]
    unseen = table[tokenizer.convert_tokens_to_ids(["generic_028", "generic_029"])]
    assert float(unseen[0]) == float(unseen[1]) < 0  # alone, each would be first: log 1 = 0
    assert found.fidelity.overlap > 0.8


def test_a_table_is_an_artefact_like_any_other(artefact_of, tokenizer, tmp_path):
    found = to_table(artefact_of("context"), texts_of(40)).artefact
    loaded = load_policy(save_policy(tmp_path, found, "card"))
    ids, real = encoded(tokenizer, texts_of(4))
    assert torch.equal(loaded.policy.probabilities(ids, real), found.policy.probabilities(ids, real))
    assert loaded.provenance["form"].startswith("a table of mean logits")


@pytest.mark.parametrize("texts", [[], ["generic_001"], ["", "[PAD]", "generic_001"]])
def test_too_few_texts_for_a_table(artefact_of, texts):
    with pytest.raises(ValueError, match=r"at least two texts .* with a token that may be masked"):
        to_table(artefact_of("context"), texts)


def as_dataset(examples):
    return datasets.Dataset.from_list(examples)


@pytest.mark.parametrize("kind", [list, iter, as_dataset], ids=["list", "iterator", "dataset"])
def test_annotated_examples_are_masked_as_by_the_policy_itself(artefact_of, tokenizer, examples, kind):
    artefact = artefact_of("context", masking={"rate": 0.3})
    annotated = list(annotate(artefact, kind([dict(e) for e in examples])))
    assert [e["id"] for e in annotated] == list(range(20))
    table = to_table(artefact, texts_of(40)).artefact
    exact, cheap, by_table = (PolicyCollator(tokenizer, policy=each.policy) for each in (artefact, table, table))
    same = 0
    for start in range(0, 20, 4):
        for collator in (exact, cheap, by_table):
            collator.set_epoch(3)
        plain = [{"input_ids": e["input_ids"]} for e in annotated[start : start + 4]]
        given = [{"input_ids": e["input_ids"], "policy": e["policy"]} for e in annotated[start : start + 4]]
        wanted, found = exact(plain), cheap(given)
        assert all(torch.equal(wanted[name], found[name]) for name in wanted)
        same += int((by_table(plain)["labels"] == wanted["labels"]).all())
    assert same < 5  # ... which the table alone does not do


def test_annotated_examples_survive_json(artefact_of, examples):
    artefact = artefact_of("context")
    (again,) = list(annotate(artefact, [json.loads(json.dumps(e)) for e in annotate(artefact, examples[:1])]))
    assert again["policy"] == json.loads(json.dumps(list(annotate(artefact, examples[:1]))))[0]["policy"]


def test_a_text_has_the_mean_score_of_what_may_be_masked_and_a_collator_leaves_it_out(artefact_of, examples, tokenizer):
    artefact, nothing = artefact_of("context"), {"input_ids": [2, 3], "id": -1}
    annotated = list(annotate(artefact, [*examples[:3], nothing]))
    table = artefact.policy.scores.types[0]
    for example in annotated[:3]:
        assert example["text_score"] == pytest.approx(float(table[example["input_ids"][1:-1]].double().mean()))
    assert annotated[3]["text_score"] is None
    batch = PolicyCollator(tokenizer, policy=artefact.policy)([{**e, "id": 0} for e in annotated[:3]])
    assert "text_score" not in batch and "id" in batch


def test_score_columns_of_the_examples_count(artefact_of, examples):
    artefact = artefact_of("context")
    given = [e | {"difference": [float(i) for i in range(len(e["input_ids"]))]} for e in examples[:4]]
    found, plain = (list(annotate(artefact, each)) for each in (given, examples[:4]))
    assert all(a["policy"] != b["policy"] for a, b in zip(found, plain, strict=True))
    assert "difference" in found[0] and "difference" not in plain[0]


def test_a_data_set_is_annotated_in_workers_too(artefact_of, examples):
    """Forked from a process that has computed with several threads, which they do not have."""
    artefact = artefact_of("context")
    torch.set_num_threads(2)
    try:
        one, two = (annotate(artefact, as_dataset(examples), num_proc=n)["policy"] for n in (None, 2))
    finally:
        torch.set_num_threads(1)
    assert [pytest.approx(row, abs=1e-6) for row in one] == list(two)


def test_examples_without_tokens(artefact_of):
    with pytest.raises(ValueError, match=r"no input_ids, but \['text'\]: tokenise the data set first"):
        list(annotate(artefact_of("context"), [{"text": "generic_001"}]))


def test_logits_do_not_depend_on_the_padding_of_a_batch(artefact_of, examples):
    policy = artefact_of("context").policy
    examples[0]["input_ids"] = examples[0]["input_ids"][:4]
    together, *alone = (columns_of(policy, e, Padding(0))["policy"] for e in (examples, *([e] for e in examples)))
    assert [len(row) for row in together] == [len(e["input_ids"]) for e in examples]
    for a, (b,) in zip(together, alone, strict=True):
        assert a == pytest.approx(b, abs=1e-6)


FIRST, SECOND = [2, *range(20, 32), 3], [2, *range(40, 28, -1), 3]
GIVEN = {
    "padded": {"input_ids": FIRST + [0] * 5, "attention_mask": [1] * 14 + [0] * 5},
    "padded without a mask": {"input_ids": FIRST + [0] * 5},
    "padded with another token": {"input_ids": FIRST + [3] * 5, "attention_mask": [1] * 14 + [0] * 5},
    "packed": {"input_ids": FIRST + SECOND, "position_ids": [*range(14), *range(14)]},
    "packed, numbered": {"input_ids": [*FIRST, 0, *SECOND], "attention_mask": [1] * 14 + [0] + [2] * 14},
    "packed, ends": {"input_ids": FIRST + SECOND, "cu_seqlens": [0, 14, 28]},
    "protected": {"input_ids": FIRST, "special_tokens_mask": [1] * 5 + [0] * 8 + [1]},
}


@pytest.mark.parametrize("kind", [list, as_dataset], ids=["list", "dataset"])
@pytest.mark.parametrize("example", GIVEN.values(), ids=GIVEN)
@pytest.mark.parametrize("pad", ["[PAD]", "[SEP]"])
def test_padding_documents_and_protection_are_what_they_are_to_a_collator(artefact_of, tokenizer, kind, example, pad):
    own = copy.deepcopy(tokenizer)
    own.pad_token = pad
    policy = artefact_of("context", masking={"rate": 0.4}).policy
    table = table_policy(policy, torch.zeros(policy.field.size))
    (annotated,) = annotate(PolicyArtefact(policy, own), kind([example]))
    exact, cheap = (PolicyCollator(own, policy=each) for each in (policy, table))
    for epoch in range(10):
        exact.set_epoch(epoch), cheap.set_epoch(epoch)
        found, wanted = cheap([{**annotated}]), exact([example])
        assert torch.equal(found["input_ids"], wanted["input_ids"]) and torch.equal(found["labels"], wanted["labels"])


def test_a_data_loader_feeds_annotated_examples(artefact_of, tokenizer, examples):
    artefact = artefact_of("context")
    table = to_table(artefact, texts_of(40)).artefact
    collator = PolicyCollator(tokenizer, policy=table.policy)
    columns = ["input_ids", "policy"]
    loader = DataLoader(annotate(artefact, as_dataset(examples)).select_columns(columns), 4, collate_fn=collator)
    assert all(bool((batch["labels"] != -100).any()) and "policy" not in batch for batch in loader)


def test_a_policy_that_cuts_spans_is_no_matter_of_scores_per_token(artefact_of, examples):
    cutting = artefact_of("span", masking={"unit": "span"})
    for refused in (lambda: to_table(cutting, texts_of(30)), lambda: annotate(cutting, examples)):
        with pytest.raises(ValueError, match="cuts texts as no score per token can say"):
            refused()
    assert to_table(artefact_of("span"), texts_of(30)).fidelity.overlap > 0.5
