"""A protein language model and labelled peptides from two installed packages, as a plain checkpoint and task folders.

pip install --no-deps antiberty==0.1.3 modlamp      # MIT and BSD-3; neither is imported, only their data are read
.venv/bin/python experiments/proteins/data.py       # writes runs/proteins

- runs/proteins/antiberty: AntiBERTy (Ruffolo et al., 2021), a BERT of 8 layers of width 512 that was trained on 558
  million antibodies, with a tokenizer that takes sequences as they are written.
- runs/proteins/amp: antimicrobial peptides of APD3 against others of UniProt (modlAMP; Müller et al., 2017), in train,
  dev and test; sequences that occur twice stand in one split, and once.
- runs/proteins/peptides.txt: the sequences of train and of modlAMP's other sets, without labels; none of dev or test.
- runs/proteins/antibodies.txt: what the model draws itself, places in random order, from [MASK] alone: no antibodies
  come with the packages.
"""

import csv
import importlib.util
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

OUT = Path("runs/proteins")
SPECIAL = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
TASK, OTHERS = "AMPvsUniProt.csv", ("AMPvsTMset.csv", "ACP_CancPPD_vs_TM.csv")
NAMES = {"1": "antimicrobial", "0": "other"}
DEV, TEST = 600, 1600
ANTIBODIES, LENGTH, AT_ONCE = 200, 115, 12
"""Sequences drawn, their residues, and how many of these are drawn at once."""


def package(name: str) -> Path:
    """The folder of an installed package. ModuleNotFoundError: it is not."""
    if (found := importlib.util.find_spec(name)) is None or found.origin is None:
        raise ModuleNotFoundError(f"{name} is not installed: pip install --no-deps antiberty==0.1.3 modlamp")
    return Path(found.origin).parent


def tokenizer_of(vocabulary: Path) -> PreTrainedTokenizerFast:
    """A token per residue."""
    ids = {token: i for i, token in enumerate(vocabulary.read_text("utf-8").split())}
    found = Tokenizer(WordLevel(ids, unk_token="[UNK]"))
    found.pre_tokenizer = Split(Regex("."), "isolated")
    ends = [(name, ids[name]) for name in ("[CLS]", "[SEP]")]
    found.post_processor = TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return PreTrainedTokenizerFast(tokenizer_object=found, model_max_length=512, **SPECIAL)


def checkpoint(models: Path) -> tuple[BertForMaskedLM, PreTrainedTokenizerFast]:
    """AntiBERTy as transformers' BERT, without its heads for species and chains."""
    weights = models / "AntiBERTy_md_smooth"
    model = BertForMaskedLM(BertConfig.from_pretrained(weights))
    kept = torch.load(weights / "pytorch_model.bin", map_location="cpu", weights_only=True)
    missing, _ = model.load_state_dict(kept, strict=False)
    assert not [name for name in missing if "decoder" not in name], missing
    return model.eval(), tokenizer_of(models / "vocab.txt")


def rows_of(file: Path) -> list[tuple[str, str]]:
    """(sequence, "0" or "1") of a file of modlAMP, upper case, without those that are no plain sequence."""
    with file.open(encoding="utf-8") as lines:
        rows = [(line[0].strip().upper(), line[1].strip()) for line in list(csv.reader(lines))[1:]]
    return [row for row in rows if row[0].isalpha() and set(row[0]) <= set("ACDEFGHIKLMNPQRSTVWY")]


def write_task(rows: list[tuple[str, str]], out: Path) -> list[str]:
    """Splits in random order; the sequences of train."""
    labels = dict(reversed(rows))  # of a sequence that comes twice, the first label
    found = [{"text": text, "label": NAMES[label]} for text, label in labels.items()]
    np.random.default_rng(0).shuffle(found)  # type: ignore[arg-type]
    splits = {"dev": found[:DEV], "test": found[DEV : DEV + TEST], "train": found[DEV + TEST :]}
    out.mkdir(parents=True, exist_ok=True)
    for name, part in splits.items():
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), "utf-8")
    return [row["text"] for row in splits["train"]]


@torch.no_grad()
def draw_antibodies(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast) -> list[str]:
    """Sequences that the model draws from [MASK] alone, a few places at a time in random order."""
    torch.manual_seed(0)
    ids = torch.full((ANTIBODIES, LENGTH + 2), tokenizer.mask_token_id)
    ids[:, 0], ids[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    order, residues = torch.rand(ANTIBODIES, LENGTH).argsort(1) + 1, torch.arange(5, len(tokenizer))
    for first in range(0, LENGTH, AT_ONCE):
        places = order[:, first : first + AT_ONCE]
        with torch.autocast("cpu", torch.bfloat16):
            logits = torch.cat([model(input_ids=part).logits for part in ids.split(100)])[..., residues].float()
        drawn = residues[torch.distributions.Categorical(logits=logits).sample()]
        ids.scatter_(1, places, drawn.gather(1, places))
    return ["".join(tokenizer.convert_ids_to_tokens(row[1:-1].tolist())) for row in ids]


def main() -> None:
    models, data = package("antiberty") / "trained_models", package("modlamp") / "data"
    model, tokenizer = checkpoint(models)
    for part in (model, tokenizer):
        part.save_pretrained(OUT / "antiberty")
    rows = rows_of(data / TASK)
    own = write_task(rows, OUT / "amp")
    known = {text for text, _ in rows}
    more = [text for name in OTHERS for text, _ in rows_of(data / name) if text not in known]
    (OUT / "peptides.txt").write_text("\n".join([*own, *dict.fromkeys(more)]) + "\n", "utf-8")
    (OUT / "antibodies.txt").write_text("\n".join(draw_antibodies(model, tokenizer)) + "\n", "utf-8")
    print(f"{len(own):,} labelled peptides to train on, {len(set(more)):,} others, {ANTIBODIES} antibodies: {OUT}")


if __name__ == "__main__":
    main()
