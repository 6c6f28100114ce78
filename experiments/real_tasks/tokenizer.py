"""The tokenizer that a small encoder from scratch has, of the training texts of a task.

.venv/bin/python experiments/real_tasks/tokenizer.py [TASK ...]     # into runs/real_tasks/scratch/TASK-tokenizer
"""

import gzip
import json
from pathlib import Path

from tokenizers import BertWordPieceTokenizer
from transformers import BertTokenizerFast

from policylearn.config import Config, load_study
from policylearn.report.write_up import asked_for

PIECES = 6000
STUDY = Path(__file__).parent / "scratch.toml"


def make_tokenizer(config: Config) -> None:
    """WordPiece over the training texts, where it is missing."""
    folder = Path(str(config.model.tokenizer))
    if folder.exists():
        return
    with gzip.open(config.domain.path, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    pieces = BertWordPieceTokenizer(lowercase=True)
    pieces.train_from_iterator(texts, vocab_size=PIECES, min_frequency=2, show_progress=False)
    BertTokenizerFast(tokenizer_object=pieces._tokenizer, do_lower_case=True).save_pretrained(folder)


if __name__ == "__main__":
    study = load_study(STUDY, [])
    for task in asked_for(__doc__, study.tasks, flags=()).names or study.tasks:
        make_tokenizer(study.config_of(task))
        print(study.config_of(task).model.tokenizer)
