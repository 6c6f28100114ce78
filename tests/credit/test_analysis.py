import numpy as np
import pytest

from policylearn.credit.analysis import A, B, Point, analyse, lasting, verdict
from policylearn.credit.credits import Tokens


def points_of(signal: float, control: float = 0.0, types: int = 300) -> list[Point]:
    """Made-up measurements: credits of A and B agree by `signal`, the control agrees with A by `control`."""
    rng = np.random.default_rng(6)
    truth, other = rng.normal(size=(types, 1)), rng.normal(size=(types, 1))
    keys = np.repeat(np.arange(types), 10)

    def tokens(columns: int) -> Tokens:
        label = rng.normal(size=(types, columns))
        shared = np.full(columns, signal)
        if columns == 3:
            label[:, 2:], shared[2] = other, control
        means = shared * truth + (1 - shared) * label
        return Tokens(keys, means[keys] + 0.1 * rng.normal(size=(len(keys), columns)))

    return [Point(1, [A, B, "shuffled 1"], (tokens(2), tokens(3)), rng.normal(size=(50, 2)), {"raw": {"ffn": 0.1}})]


@pytest.mark.parametrize(
    ("signal", "control", "expected"),
    [(0.9, 0.0, "there is a signal"), (0.4, 0.0, "weak"), (0.0, 0.0, "noise"), (0.7, 0.95, "not the task's")],
)
def test_the_verdict_tells_signal_from_noise_and_from_what_labels_do_not_matter_to(tiny, signal, control, expected):
    assert expected in verdict(analyse(points_of(signal, control), tiny()))


def test_labels_that_were_not_shuffled_explain_nothing(tiny):
    found = analyse(points_of(0.9), tiny()) | {"controls": {}}
    assert found["net"] < 1.0 and "there is a signal" in verdict(found | {"half": 3 * found["net"]})


def test_what_lasts_is_the_share_that_two_states_have_in_common():
    rng, keys = np.random.default_rng(3), np.repeat(np.arange(3000), 4)
    always = rng.normal(size=(3000, 1))

    def point(training: int, own: np.ndarray) -> Point:
        means = always + own + rng.normal(size=(3000, 2)) * 0.1
        parts = (Tokens(keys, means[keys]), Tokens(keys, means[keys]))
        return Point(1, [A, B], parts, rng.normal(size=(5, 2)), {}, training)

    of_training = rng.normal(size=(2, 3000, 1))  # always 1, training 1, state 2: halves at one state share all four
    points = [point(t, of_training[t] + 2**0.5 * rng.normal(size=(3000, 1))) for t in (0, 0, 1, 1)]
    assert lasting(points, least=1) == pytest.approx({"states": 0.5, "trainings": 0.25}, abs=0.05)
    assert lasting(points[:1], least=1) == {"states": None, "trainings": None}
    assert lasting(points[1:3], least=1)["states"] is None


def test_too_few_words_are_an_error_that_says_what_to_do(tiny):
    with pytest.raises(ValueError, match=r"raise credit\.batches or lower diagnose\.least"):
        analyse(points_of(0.5), tiny("diagnose.least=11"))
