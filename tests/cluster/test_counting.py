"""Counting on Ray gives the integers of one process, on a cluster whose CPUs are all taken."""

import copy
import json
import logging
from functools import partial

import numpy as np
import pytest
import ray
from ray.data import DataContext

from policylearn.arms.policies import sources_of
from policylearn.cluster.connection import check_joined
from policylearn.cluster.counting import count_corpus_on_ray
from policylearn.cluster.ray_pool import RayPool
from policylearn.config import Config, PlantedConfig
from policylearn.data.planted import domain_corpus, general_corpus, planted_tokenizer
from policylearn.masking.vocabulary import vocabulary
from policylearn.problems.of_config import problem_of
from policylearn.scores.counting import CorpusCounts, count_corpus, text_chunks

PLANTED = PlantedConfig(documents=2500, length=8)
TOKENIZER = planted_tokenizer(PLANTED)
TABLES = vocabulary(TOKENIZER)
SHARDS = [partial(domain_corpus, PLANTED), partial(general_corpus, PLANTED), lambda: iter(["", "class0_00"])]


@pytest.fixture(scope="module", autouse=True)
def busy_cluster():
    """As `train` has it: the pool of rollouts holds every CPU."""
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)

    @ray.remote(num_cpus=2)
    class Pool:
        def ready(self):
            return True

    pool = Pool.remote()
    assert ray.get(pool.ready.remote())
    yield
    assert ray.is_initialized()  # a cluster that was not started by the count is left
    ray.shutdown()


def on_ray(workers: int, shards=SHARDS, **settings) -> CorpusCounts:
    config = Config.model_validate({"cluster": {"workers": workers}})
    return count_corpus_on_ray(config, shards, TOKENIZER, TABLES, **settings)


def assert_same(a: CorpusCounts, b: CorpusCounts) -> None:
    assert (a.documents, a.total_words, a.missed) == (b.documents, b.total_words, b.missed)
    assert np.array_equal(a.types, b.types) and np.array_equal(a.type_documents, b.type_documents)
    for name in ("keys", "counts", "documents", "pieces"):
        assert np.array_equal(getattr(a.words, name), getattr(b.words, name))


def test_two_workers_give_the_counts_of_this_process():
    texts = [text for shard in SHARDS for text in shard()]
    seen = []
    found = on_ray(2, watch=lambda parts: (seen.append(part.documents) or part for part in parts))
    assert_same(found, count_corpus(texts, TOKENIZER, TABLES))
    assert found.documents == 5002 and len(found.words) > 150
    assert seen == [1000, 1000, 500, 1000, 1000, 500, 2]  # in the order of the corpus


@pytest.mark.long
def test_one_worker_does_where_words_are_forgotten_and_others_never_counted():
    some = count_corpus(SHARDS[0](), TOKENIZER, TABLES).words.keys[::2]
    assert len(list(text_chunks(SHARDS[0]()))) > 2
    found = on_ray(1, SHARDS[:1], only=some, limit=30)
    assert_same(found, count_corpus(SHARDS[0](), TOKENIZER, TABLES, only=some, limit=30))
    assert found.missed > 0 and 0 < len(found.words) <= 30


def test_a_text_that_cannot_be_read_is_an_error_here():
    def damaged():
        yield "class0_00"
        raise ValueError("domain.path corpus.jsonl, line 2 is not JSON")

    with pytest.raises(ValueError, match=r"^domain\.path corpus\.jsonl, line 2 is not JSON$"):
        on_ray(1, [damaged])


def test_ray_data_is_left_as_its_user_has_it():
    def said():
        context = DataContext.get_current()
        level = logging.getLogger("ray.data").level
        return context.target_max_block_size, context.execution_options, context.enable_progress_bars, level

    before, inside = copy.deepcopy(said()), []
    on_ray(1, SHARDS[2:], watch=lambda parts: (inside.append(said()) or part for part in parts))
    assert said() == before and inside[0][0] == 1


def test_another_cluster_than_the_one_that_has_been_joined_is_refused(monkeypatch, caplog):
    here = ray.get_runtime_context().gcs_address
    for address in ("10.255.255.1:6379", f"no-such-host.invalid:{here.rpartition(':')[2]}"):
        config = Config.model_validate({"cluster": {"address": address}})
        for join in (lambda c: count_corpus_on_ray(c, [], TOKENIZER, TABLES), RayPool):
            with pytest.raises(ValueError, match=rf"^cluster.address is '{address}', and .* has joined .*{here}"):
                join(config)
    for address in (here, "auto", "local", ""):
        caplog.clear()
        check_joined(Config.model_validate({"cluster": {"address": address}}).cluster)
        assert (f"'local', and this process has joined the Ray cluster at {here}" in caplog.text) == (
            address == "local"
        )
    monkeypatch.setenv("RAY_ADDRESS", "10.255.255.1:6379")
    with pytest.raises(ValueError, match=r"^RAY_ADDRESS is '10\.255"):
        check_joined(Config().cluster)


def test_no_shards_are_an_empty_corpus():
    found = on_ray(1, [])
    assert found.documents == 0 and len(found.words) == 0 and not found.types.any()


@pytest.mark.long
def test_a_problem_counts_the_files_of_its_corpus_on_ray(tiny, tmp_path):
    for number, shard in enumerate(SHARDS):
        rows = (json.dumps({"text": text}) for text in list(shard())[:300])
        (tmp_path / f"{number}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    corpora = [f"{which}.path='{tmp_path}/*.jsonl'" for which in ("domain", "general")]
    settings = (corpora, [*corpora, "scores.count_on_ray=true"])
    here, there = (sources_of(problem_of(tiny(*how))) for how in settings)
    assert_same(there.domain_counts, here.domain_counts)
    assert_same(there.general_counts, here.general_counts)
    assert there.domain_counts.documents == 602
