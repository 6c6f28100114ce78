"""Pictures from folders, arrays and data sets; and what is said where they cannot be read."""

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageColumn
from PIL import Image

from policylearn.config import PatchesConfig, TaskConfig
from policylearn.data.pictures import read_pictures, splits_of
from policylearn.masking.grid import Grid

GRID, CONFIG = Grid(6, 4, patch=2, channels=3), PatchesConfig(words=8)


def pixels(count=4, channels=3, height=6, width=4):
    shape = (count, height, width, channels) if channels else (count, height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def folder_of(place, found, classes=("cat", "dog")):
    for i, picture in enumerate(found):
        inside = place / classes[i % 2] if classes else place
        inside.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(inside / f"{i}.png")
    return place


def read(place, grid=GRID, **settings):
    return read_pictures(str(place), CONFIG.model_copy(update=settings), grid, "domain.path", "label")


def test_a_folder_per_class_arrays_and_a_data_set_are_the_same_pictures(tmp_path):
    found = pixels()
    folder_of(tmp_path / "folder", found)
    np.savez(tmp_path / "arrays.npz", image=found[[0, 2, 1, 3]], label=["cat", "cat", "dog", "dog"])
    features = Features({"image": ImageColumn(), "label": Value("string")})
    rows = {"image": [Image.fromarray(found[i]) for i in (0, 2, 1, 3)], "label": ["cat", "cat", "dog", "dog"]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    for place in ("folder", "arrays.npz", "saved"):
        read_rows, labels = read(tmp_path / place)
        assert labels == ["cat", "cat", "dog", "dog"], place
        assert np.array_equal(read_rows.pixels, found[[0, 2, 1, 3]].transpose(0, 3, 1, 2)), place


def test_pictures_without_a_class_have_no_label_and_grey_ones_one_channel(tmp_path):
    found = pixels(channels=0)
    rows, labels = read(folder_of(tmp_path, found, classes=()), Grid(6, 4, patch=2, channels=1))
    assert labels == [None] * 4 and rows.pixels.shape == (4, 1, 6, 4)
    np.save(tmp_path / "only.npy", found)
    assert np.array_equal(read(tmp_path / "only.npy", Grid(6, 4, 2, 1))[0].pixels, rows.pixels)


def test_pixels_become_numbers_by_mean_and_deviation(tmp_path):
    rows, _ = read(folder_of(tmp_path, pixels()), mean=0.25, std=2.0)
    x, real = rows.batch([1, 3])
    assert x.shape == (2, 6, 12) and real.all()
    wanted = (rows.pixels[[1, 3]].astype(np.float32) / 255 - 0.25) / 2.0
    assert np.allclose(rows.grid.pixels(x).numpy(), wanted, atol=1e-6)


def broken(place):
    folder_of(place, pixels())
    (place / "dog" / "1.png").write_bytes(b"no picture")


def other_size(place):
    folder_of(place, pixels())
    Image.fromarray(pixels(1, width=5)[0]).save(place / "dog" / "1.png")


def floats(place):
    place.mkdir()
    np.savez(place / "x.npz", image=pixels().astype(np.float64))


def other_array(place):
    place.mkdir()
    np.savez(place / "x.npz", pictures=pixels())


def fewer_labels(place):
    place.mkdir()
    np.savez(place / "x.npz", image=pixels(), label=[1])


def cut_short(place):
    floats(place)
    (place / "x.npz").write_bytes((place / "x.npz").read_bytes()[:-40])


def no_arrays(place):
    place.mkdir()
    (place / "x.npz").write_bytes(b"no arrays")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (broken, r"domain.path .*dog/1\.png is no picture that can be read: .*; take it out, or save it anew"),
        (other_size, r"domain.path .*dog/1\.png is 6 × 5 × 3 and not 6 × 4 × 3 .*image_size and num_channels"),
        (floats, r"x\.npz, picture 0 holds float64 and not uint8"),
        (other_array, r"x\.npz has .*pictures.* and no array 'image': set patches\.image"),
        (fewer_labels, r"x\.npz has 4 pictures and 1 of 'label'"),
        (cut_short, r"x\.npz cannot be read as arrays"),
        (no_arrays, r"x\.npz cannot be read as arrays"),
        (lambda place: place.mkdir(), r"domain.path .* holds no picture: files end with \.png"),
        (lambda place: None, r"domain.path .* does not exist"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line_with_its_setting(tmp_path, made, said):
    made(place := tmp_path / "pictures")
    with pytest.raises(ValueError, match=said) as error:
        read(place / "x.npz" if (place / "x.npz").exists() else place)
    assert "\n" not in str(error.value)


def test_another_number_of_channels_is_named(tmp_path):
    with pytest.raises(ValueError, match="is 6 × 4 × 1 and not 6 × 4 × 3"):
        read(folder_of(tmp_path, pixels(channels=0)))


def test_a_data_set_of_several_splits_is_refused_and_class_labels_are_their_numbers(tmp_path):
    features = Features({"image": ImageColumn(), "label": ClassLabel(names=["cat", "dog"])})
    data = Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pixels()], "label": [0, 1, 0, 1]}, features=features
    )
    data.save_to_disk(tmp_path / "train")
    assert read(tmp_path / "train")[1] == [0, 1, 0, 1]
    with pytest.raises(ValueError, match=r"has columns .* and no 'photo': set patches\.image"):
        read(tmp_path / "train", image="photo")


def test_splits_are_folders_or_arrays_by_any_of_their_names(tmp_path):
    folder_of(tmp_path / "train", pixels())
    folder_of(tmp_path / "valid", pixels())
    np.savez(tmp_path / "test.npz", image=pixels())
    found = splits_of(TaskConfig(path=str(tmp_path)))
    assert [found[split].rpartition("/")[2] for split in ("train", "dev", "test")] == ["train", "valid", "test.npz"]
    with pytest.raises(ValueError, match="has no hard: put a folder"):
        splits_of(TaskConfig(path=str(tmp_path), extra_tests=["hard"]))


def test_boxes_come_with_pictures_and_are_checked(tmp_path):
    boxes = np.array([[[0, 0, 0.5, 1.0]], [[0, 0, 1.0, 1 / 3]], [[0, 0, 0, 0]], [[0, 0, 1, 1]]])
    np.savez(tmp_path / "x.npz", image=pixels(), region=boxes)
    rows, _ = read(tmp_path / "x.npz")
    assert rows.values([1, 0], 6)["region"].tolist() == [[1, 1, 0, 0, 0, 0], [1, 0] * 3]
    assert rows.take([3]).values([0], 6)["region"].tolist() == [[1] * 6]
    np.savez(tmp_path / "x.npz", image=pixels(), region=boxes * 6)
    with pytest.raises(ValueError, match=r"x\.npz, picture 0, column 'region': boxes .* divide pixels by the size"):
        read(tmp_path / "x.npz")
