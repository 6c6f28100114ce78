from itertools import pairwise

import pytest

from policylearn.arms.arms import arm_policy
from policylearn.config import PlantedFactsConfig, load_config
from policylearn.data.planted_context import USEFUL
from policylearn.data.planted_facts import (
    ENTITIES,
    KNOWN,
    SPLITS,
    facts,
    facts_answers,
    facts_general,
    facts_records,
    facts_task,
    facts_tokenizer,
    filler_words,
    people,
    question,
    values,
)
from policylearn.problems.of_config import problem_of

CONFIG = PlantedFactsConfig(train=12, dev=5, test=8)
RECORDS = list(facts_records(CONFIG))
QUESTIONS = {split: {one.text: one.accepted for one in found} for split, found in facts_task(CONFIG).splits.items()}
CUES = {attribute.statement.split()[-1]: name for name, attribute in KNOWN.items()}
SMALL = [
    *["task.path=planted-facts", "planted_facts.train=8", "planted_facts.dev=4", "planted_facts.test=4"],
    *["outer.adaptation=finetune", "evaluate.downstream=[finetune]", "scores.entity.column=entities"],
    'evaluate.arms=["random", "entity", "oracle-context"]',
]


def stated() -> set[tuple[str, str, str]]:
    """Person, attribute and value of every sentence."""
    found = set()
    for text, _ in RECORDS:
        words = text.split()
        person = next(word for word in words if word.startswith("person"))
        found |= {(person, CUES[before], word) for before, word in pairwise(words) if before in CUES}
    return found


def test_the_same_seed_makes_the_same_facts_and_another_one_others():
    other = CONFIG.model_copy(update={"seed": 1})
    assert list(facts_records(CONFIG)) == RECORDS != list(facts_records(other))
    assert facts_task(CONFIG) == facts_task(CONFIG) != facts_task(other)


def test_no_person_is_asked_about_in_two_splits_and_no_stranger_in_any():
    names = [name for split in SPLITS for name in people(CONFIG, split)]
    assert len(set(names)) == len(names) == 25
    for split, asked in QUESTIONS.items():
        assert set(asked) == {question(name, one) for one in people(CONFIG, split) for name in CONFIG.asked}
    others = CONFIG.model_copy(update={"first": 25})
    assert not set(names) & set(facts(others)) and facts_tokenizer(CONFIG).get_vocab() == (
        facts_tokenizer(others).get_vocab()
    )


def test_texts_state_every_fact_that_is_asked_for_and_none_that_is_not_one():
    known = facts(CONFIG)
    assert stated() == {(person, name, value) for person, said in known.items() for name, value in said.items()}
    for split, asked in QUESTIONS.items():
        for person in people(CONFIG, split):
            for name in CONFIG.asked:
                assert asked[question(name, person)] == [known[person][name]]


def test_columns_mark_values_and_the_first_those_that_will_be_asked_for():
    of = {value: name for name in KNOWN for value in values(CONFIG, name)}
    for text, record in RECORDS:
        words = text.split()
        assert record[ENTITIES] == [int(word in of) for word in words]
        assert record[USEFUL] == [int(of.get(word) in CONFIG.asked) for word in words]
        assert sum(record[ENTITIES]) == CONFIG.sentences


@pytest.mark.parametrize("split", SPLITS)
def test_answers_stand_where_they_are_said_to_in_texts_about_people_of_the_split(split):
    found = list(facts_answers(CONFIG, split))
    assert len(found) == CONFIG.texts * len(people(CONFIG, split))
    told = set()
    for text, spans in found:
        person = next(word for word in text.split() if word.startswith("person"))
        told |= {(person, text[start:end]) for start, end in spans}
    known = facts(CONFIG)
    assert told == {(person, known[person][name]) for person in people(CONFIG, split) for name in CONFIG.asked}


def test_the_tokenizer_knows_every_word():
    tokenizer = facts_tokenizer(CONFIG)
    for text in [*(text for text, _ in RECORDS), *QUESTIONS["test"], *facts_general(CONFIG)]:
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_general_texts_are_as_long_and_of_filler_alone():
    general = list(facts_general(CONFIG))
    assert [len(text.split()) for text in general] == [len(text.split()) for text, _ in RECORDS]
    assert {word for text in general for word in text.split()} <= set(filler_words(CONFIG))


def test_entities_are_all_values_and_the_oracle_masks_those_that_will_be_asked_for():
    problem = problem_of(load_config(None, [*SMALL, "masking.rate=0.06"]))
    ids, real = problem.domain.batch(range(len(problem.domain)), problem.tokenizer.pad_token_id)
    columns = problem.domain.values(range(len(problem.domain)), ids.shape[1])
    useful, value = columns["oracle-context"] > 0, columns["entity"] > 0
    assert (useful & value).equal(useful) and useful.any() and (value & ~useful).any()
    entities, oracle = (
        arm_policy(problem, arm).probabilities(ids, real, columns=columns) for arm in ("entity", "oracle-context")
    )
    assert entities[useful].mean() > 0.8 * entities[value & ~useful].mean() > 10 * entities[real & ~value].mean()
    asked = useful.any(1)[:, None] & real  # a text may state nothing that is asked for
    assert oracle[value & ~useful & asked].mean() < 0.05 * oracle[useful].mean()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('planted_facts.asked=["prize", "prize"]', "names an attribute twice"),
        ("planted_facts.texts=1", "do not say all of a person"),
        ("planted_facts.people=10", "fewer than first, train, dev and test: 16"),
        ("planted_facts.asked=[shoes]", "planted_facts.asked"),
    ],
)
def test_what_cannot_be_is_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, [*SMALL, setting])
