"""The scripts of configs/trainers, run in processes of their own, and the page that shows them."""

import re
from itertools import chain, pairwise
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForMaskedLM, DataCollatorForLanguageModeling

FOLDER = Path(__file__).parents[2] / "configs" / "trainers"
RUNS = {
    "hf_trainer": ("hf_trainer", 1),
    "hf_trainer on two": ("hf_trainer", 2),
    "accelerate_loop": ("accelerate_loop", 1),
    "accelerate_loop on two": ("accelerate_loop", 2),
    "plain_loader": ("plain_loader", 1),
}
EPOCHS = 3


@pytest.fixture(scope="module")
def runs(run_scripts):
    return run_scripts(RUNS | {"diffusion_trainer": ("diffusion_trainer", 1)})


@pytest.fixture(scope="module")
def recorded(runs):
    """`recorded(run)`: rank → epoch → the batches the model saw."""
    folder, said = runs

    def batches(run):
        ranks = [folder / run / f"rank{rank}.pt" for rank in range(RUNS[run][1])]
        assert all(path.exists() for path in ranks), said
        seen = [torch.load(path) for path in ranks]
        steps = len(seen[0]) // EPOCHS
        return [[batches[i * steps : (i + 1) * steps] for i in range(EPOCHS)] for batches in seen]

    return batches


@pytest.mark.parametrize("run", RUNS)
def test_its_models_see_the_masks_of_the_epoch_on_any_number_of_processes(recorded, masks_of, masks_of_epoch, run):
    ranks = recorded(run)
    epochs = [masks_of(chain(*batches)) for batches in zip(*ranks, strict=True)]
    assert epochs == [masks_of_epoch(epoch) for epoch in range(EPOCHS)]
    assert all(one != other for one, other in pairwise(epochs))
    assert all(len(rank[0]) == 4 // len(ranks) for rank in ranks)


@pytest.mark.parametrize("run", [*RUNS, "diffusion_trainer"])
def test_it_saves_a_model_that_was_trained(runs, run):
    before, after = (AutoModelForMaskedLM.from_pretrained(runs[0] / name) for name in ("model", run))
    assert all(p.isfinite().all() for p in after.parameters())
    assert any(not torch.equal(p, q) for p, q in zip(before.parameters(), after.parameters(), strict=True))


def repeated(ranks):
    """Rows that have the same pattern of masks as the row in the same place of the same batch on the other rank."""
    pairs = zip(*(chain(*epochs) for epochs in ranks), strict=True)
    return sum(int(((a["labels"] != -100) == (b["labels"] != -100)).all(1).sum()) for a, b in pairs)


@pytest.mark.parametrize("run", [run for run, (_, ranks) in RUNS.items() if ranks == 2])
def test_no_pattern_of_masks_is_on_two_ranks(recorded, run):
    assert repeated(recorded(run)) == 0


def test_the_stock_collator_repeats_them(tokenizer, trained_examples):
    """What every rank does that is given the same seed."""
    stock = [DataCollatorForLanguageModeling(tokenizer, seed=0) for _ in range(2)]
    ranks = [[[collator(trained_examples[half::2])]] for half, collator in enumerate(stock)]
    assert repeated(ranks) == 16


def shown(script):
    """A script without its own docstring and command line."""
    body = script.split('"""\n\n', 1)[1].split("\n\n\nif __name__")[0]
    return body.replace("import argparse\n", "").strip()


def test_a_diffusion_model_sees_texts_hidden_at_every_rate_beside_their_complements(runs, tokenizer):
    folder, said = runs
    path = folder / "diffusion_trainer" / "rank0.pt"
    assert path.exists(), said
    seen = torch.stack([batch["input_ids"] for batch in torch.load(path)])[:, :, 1:-1] == tokenizer.mask_token_id
    assert seen.shape == (12, 16, 20)
    mask, rest = seen[:, ::2].flatten(0, 1), seen[:, 1::2].flatten(0, 1)
    assert ((mask ^ rest).all(1) | (mask & rest).all(1)).all()
    assert len(mask.sum(1).unique()) > 15


def test_the_page_shows_the_scripts():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    scripts = {path.name: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.py"))}
    blocks = re.findall(r"```python\n(.*?)\n```", page, re.DOTALL)
    assert len(scripts) == 6 and sorted(blocks) == sorted(map(shown, scripts.values()))
    assert set(re.findall(r"\]\((\w+\.py)\)", page)) == set(scripts)
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", page, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([\w-]+)\)", page)) == headings


def test_the_page_does_not_show_just_anything():
    script = (FOLDER / "plain_loader.py").read_text(encoding="utf-8")
    assert shown(script) != shown(script.replace("set_epoch(epoch)", "set_epoch(0)"))
    assert len(shown(script).splitlines()) < 30
