"""Print the whole words that the policy in runs/acl_arc masks most, and the types it turned away from.

.venv/bin/python experiments/acl_arc/words.py
"""

from policylearn.artefact import load_policy
from policylearn.commands.present import word_rows
from policylearn.config import load_config
from policylearn.problems.of_config import problem_of
from policylearn.report.words import fallers, most_masked

MIN_COUNT, MIN_LETTERS, TOP = 30, 3, 20

if __name__ == "__main__":
    problem = problem_of(load_config("configs/acl_arc.toml"))
    rows = [
        r for r in word_rows(load_policy("runs/acl_arc/policy").policy, problem.domain, problem) if r.count >= MIN_COUNT
    ]
    words = [row for row in rows if row.word.isalpha() and len(row.word) >= MIN_LETTERS]
    print("most masked words:", " ".join(f"{row.word} {row.learned:.2f}" for row in most_masked(words, TOP)))
    print("most masked types:", " ".join(f"{row.word} {row.learned:.2f}" for row in most_masked(rows, TOP)))
    print("lowered most:     ", " ".join(f"{row.word} {row.prior:.2f}→{row.learned:.2f}" for row in fallers(rows, TOP)))
