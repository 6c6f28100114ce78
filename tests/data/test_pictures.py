"""Pictures from folders, arrays and data sets; and what is said where they cannot be read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value
from datasets import Image as ImageColumn
from PIL import Image
from pydantic import ValidationError

from policylearn.config import PatchesConfig, TaskConfig
from policylearn.data.overview import describe_task
from policylearn.data.picture_task import picture_task, splits_of
from policylearn.data.pictures import read_pictures, unread
from policylearn.masking.grid import Grid

ORIENTATION = 274
ROWS = {"train": slice(4), "dev": slice(4, 6), "test": slice(4)}
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
        read_rows, labels, _ = read(tmp_path / place)
        assert labels == ["cat", "cat", "dog", "dog"], place
        assert np.array_equal(read_rows.pixels, found[[0, 2, 1, 3]].transpose(0, 3, 1, 2)), place


def test_pictures_without_a_class_have_no_label_and_grey_ones_one_channel(tmp_path):
    found = pixels(channels=0)
    rows, labels, _ = read(folder_of(tmp_path, found, classes=()), Grid(6, 4, patch=2, channels=1))
    assert labels == [None] * 4 and rows.pixels.shape == (4, 1, 6, 4)
    np.save(tmp_path / "only.npy", found)
    assert np.array_equal(read(tmp_path / "only.npy", Grid(6, 4, 2, 1))[0].pixels, rows.pixels)


def test_the_class_is_the_first_folder_and_what_is_not_read_is_said(tmp_path):
    found = pixels()
    folder_of(tmp_path / "cat" / "small", found[:2], classes=())
    folder_of(tmp_path / "dog", found[2:], classes=())
    for name in (".DS_Store", "dog/._0.png", ".hidden/0.png", "dog/0.heic", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something")
    rows, labels, _ = read(tmp_path)
    assert labels == ["cat", "cat", "dog", "dog"] and np.array_equal(rows.pixels, found.transpose(0, 3, 1, 2))
    assert unread(str(tmp_path)).endswith(
        "for their endings are others: ['0.heic', 'notes.txt']; for their names begin with a dot: ['.hidden']"
    )
    assert unread(str(tmp_path / "cat")) is None


def test_a_hidden_folder_that_may_not_be_read_is_nobodys(tmp_path, monkeypatch):
    folder_of(tmp_path / "cat", pixels(), classes=())
    folder_of(tmp_path / ".kept", pixels(), classes=())
    (tmp_path / ".Trashes").mkdir()
    (tmp_path / ".kept" / "z").mkdir()
    listed, walked = Path.iterdir, []

    def denied(folder):
        walked.append(folder.name)
        if folder.name == ".Trashes":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", denied)
    assert unread(str(tmp_path)).endswith(": ['.kept']") and len(read(tmp_path)[1]) == 4
    assert ".Trashes" in walked and "z" not in walked  # one picture says it


def test_links_to_folders_are_followed_and_end_where_they_go_round(tmp_path):
    folder_of(tmp_path / "train" / "cat", pixels(), classes=())
    folder_of(tmp_path / "elsewhere", pixels(), classes=())
    (tmp_path / "train" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "train")
    (tmp_path / "train" / "cow").symlink_to(tmp_path / "gone")
    assert read(tmp_path / "train")[1] == ["cat"] * 4 + ["dog"] * 4
    assert unread(str(tmp_path / "train")).endswith("['cow']")


def test_folders_are_folders_whatever_they_are_called_and_classes_may_be_a_column(tmp_path):
    found = folder_of(tmp_path / "photos.png", pixels())
    assert read(found)[1] == ["cat", "cat", "dog", "dog"]
    np.savez(tmp_path / "cifar.npz", image=pixels(), label=np.array([[3], [1], [4], [1]]))
    assert read(tmp_path / "cifar.npz")[1] == [3, 1, 4, 1]


def test_folders_of_two_names_are_not_taken_for_one_class(tmp_path):
    split = read(folder_of(tmp_path, pixels(), classes=("1", "1.0")))
    with pytest.raises(ValueError, match=r"has the classes '1' and '1\.0', which are one: name them otherwise"):
        picture_task(TaskConfig(path=str(tmp_path)), dict.fromkeys(ROWS, split))


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path):
    picture, exif = Image.fromarray(pixels(1, height=4, width=6)[0]), Image.Exif()
    exif[ORIENTATION] = 6
    picture.save(tmp_path / "x.png", exif=exif)
    turned = np.rot90(np.asarray(picture), k=-1)
    assert np.array_equal(read(tmp_path)[0].pixels[0].transpose(1, 2, 0), turned)


def test_opaque_pictures_and_black_and_white_ones_lose_nothing(tmp_path):
    found = pixels(channels=4)
    found[..., 3] = 255
    assert np.array_equal(
        read(folder_of(tmp_path / "opaque", found, classes=()))[0].pixels, found[..., :3].transpose(0, 3, 1, 2)
    )
    bits = pixels(1, channels=0)[0] > 127
    (tmp_path / "bits").mkdir()
    Image.fromarray(bits).save(tmp_path / "bits" / "x.png")
    assert np.array_equal(read(tmp_path / "bits", Grid(6, 4, 2, 1))[0].pixels[0, 0], bits * 255)


def saved(place, pictures):
    features = Features({"image": ImageColumn()})
    Dataset.from_dict({"image": pictures}, features=features).save_to_disk(place)
    return place


def test_pictures_of_a_data_set_are_read_as_files_of_them_are(tmp_path):
    palettes = [Image.fromarray(picture).quantize(8) for picture in pixels()]
    rows, *_ = read(saved(tmp_path / "saved", palettes))
    assert np.array_equal(
        rows.pixels, np.stack([np.asarray(one.convert("RGB")) for one in palettes]).transpose(0, 3, 1, 2)
    )
    with pytest.raises(ValueError, match=r"saved, row 1 is no picture that can be read: it is transparent in places"):
        read(saved(tmp_path / "saved", [palettes[0], Image.fromarray(pixels(channels=4)[0])]))
    with pytest.raises(
        ValueError, match=r"domain.path .*saved, row 1 has no picture in column 'image': take the row out"
    ):
        read(saved(tmp_path / "saved", [palettes[0], None]))


def test_a_task_says_what_it_is_made_of(tmp_path):
    found = pixels(6)
    read_splits = {name: read(folder_of(tmp_path / name, found[rows])) for name, rows in ROWS.items()}
    said = describe_task(picture_task(TaskConfig(path=str(tmp_path)), read_splits))
    assert said[0] == "task  4 / 2 / 4 pictures, 2 labels: cat 50 %, dog 50 %"
    assert said[-1] == "task  4 of 4 test rows repeat a training picture"
    (tmp_path / "dev" / "9.png").write_bytes((tmp_path / "dev" / "cat" / "0.png").read_bytes())
    with pytest.raises(ValueError, match=r"split 'dev' has 1 of 3 pictures without a class, .*dev/9\.png: put"):
        picture_task(TaskConfig(path=str(tmp_path)), read_splits | {"dev": read(tmp_path / "dev")})
    one_class = read(tmp_path / "train" / "cat")._replace(labels=["cat", "cat"])
    with pytest.raises(ValueError, match="a task needs at least two labels"):
        picture_task(TaskConfig(path=str(tmp_path)), dict.fromkeys(ROWS, one_class))


def test_pictures_of_class_nan_or_minus_one_of_a_class_label_have_none(tmp_path):
    features = Features({"image": ImageColumn(), "label": ClassLabel(names=["cat", "dog"])})
    rows = {"image": [Image.fromarray(picture) for picture in pixels()], "label": [0, -1, 1, -1]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    np.savez(tmp_path / "x.npz", image=pixels(), label=[0, np.nan, 1, np.nan])
    for name, first in (("saved", "saved, row 1"), ("x.npz", "x.npz, picture 1")):
        with pytest.raises(ValueError, match=f"has 2 of 4 pictures without a class, the first .*{first}: put"):
            picture_task(TaskConfig(path=str(tmp_path)), {"train": read(tmp_path / name)})


def test_pixels_become_numbers_by_mean_and_deviation(tmp_path):
    rows, *_ = read(folder_of(tmp_path, pixels()), mean=0.25, std=2.0)
    x, real = rows.batch([1, 3])
    assert x.shape == (2, 6, 12) and real.all()
    wanted = (rows.pixels[[1, 3]].astype(np.float32) / 255 - 0.25) / 2.0
    assert np.allclose(rows.grid.pixels(x).numpy(), wanted, atol=1e-6)


def test_a_channel_may_have_a_mean_and_deviation_of_its_own(tmp_path):
    folder = folder_of(tmp_path, pixels())
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    rows, *_ = read(folder, mean=mean, std=std)
    wanted = (rows.pixels.astype(np.float32) / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    assert np.allclose(rows.grid.pixels(rows.batch(range(4))[0]).numpy(), wanted, atol=1e-6)
    one, same = read(folder, mean=0.25)[0].batch([0])[0], read(folder, mean=[0.25] * 3)[0].batch([0])[0]
    assert torch.equal(one, same)
    with pytest.raises(
        ValueError, match=r"patches\.std has 2 numbers, and pictures have 3 channels: give one for each"
    ):
        read(folder, std=[0.5, 0.5])
    for wrong in ({"std": [0.5, 0.0, 0.5]}, {"mean": "grey"}):
        with pytest.raises(ValidationError):
            PatchesConfig(**wrong)


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


def transparent(place):
    folder_of(place, pixels(channels=4))


def moving(place):
    folder_of(place, pixels())
    frames = [Image.fromarray(picture) for picture in pixels(channels=0)]
    frames[0].save(place / "dog" / "9.gif", save_all=True, append_images=frames[1:])


def deep(place):
    folder_of(place, pixels())
    Image.fromarray(pixels(1, channels=0)[0].astype(np.uint16) * 257).save(place / "dog" / "9.png")


def arrays(**named):
    def make(place):
        place.mkdir()
        np.savez(place / "x.npz", **({"image": pixels()} | named))

    return make


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
        (arrays(image=np.uint8(5)), r"x\.npz: array 'image' is of shape \[\], make it \[pictures, height, width\] or"),
        (arrays(label=np.int64(3)), r"x\.npz: array 'label' is of shape \[\], make it \[pictures\], a class for each"),
        (arrays(label=np.eye(4)), r"x\.npz: array 'label' is of shape \[4, 4\], make it .* as argmax\(1\) does"),
        (arrays(region=np.zeros(4)), r"x\.npz: array 'region' is of shape \[4\], make it \[pictures, boxes, 4\]"),
        (arrays(region=np.zeros((4, 3))), r"x\.npz, picture 0, column 'region': boxes .* no lists of four numbers"),
        (cut_short, r"x\.npz cannot be read as arrays"),
        (no_arrays, r"x\.npz cannot be read as arrays"),
        (transparent, r"cat/0\.png is no picture that can be read: it is transparent in places"),
        (moving, r"dog/9\.gif is no picture that can be read: it has 4 pictures"),
        (deep, r"dog/9\.png is no picture that can be read: its pixels are of mode I;16, and not of 8 bits"),
        (lambda place: place.mkdir(), r"domain.path .* holds no picture: files end with \.png"),
        (lambda place: None, r"domain.path .* does not exist"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line_with_its_setting(tmp_path, made, said):
    made(place := tmp_path / "pictures")
    with pytest.raises(ValueError, match=said) as error:
        read(place / "x.npz" if (place / "x.npz").exists() else place)
    assert "\n" not in str(error.value)


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    folder, inside = folder_of(tmp_path, pixels()), Path.iterdir

    def closed(path):
        if path.name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return inside(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    assert unread(folder) is None
    with pytest.raises(ValueError, match=r"domain\.path .*dog cannot be read: Permission denied; allow it, or take it"):
        read(folder)


def test_another_number_of_channels_is_named(tmp_path):
    with pytest.raises(ValueError, match="is 6 × 4 × 1 and not 6 × 4 × 3"):
        read(folder_of(tmp_path, pixels(channels=0)))


def test_a_data_set_of_several_splits_is_refused_and_class_labels_are_their_names(tmp_path):
    features = Features({"image": ImageColumn(), "label": ClassLabel(names=["cat", "dog"])})
    data = Dataset.from_dict(
        {"image": [Image.fromarray(p) for p in pixels()], "label": [0, 1, 0, 1]}, features=features
    )
    data.save_to_disk(tmp_path / "train")
    assert read(tmp_path / "train")[1] == ["cat", "dog", "cat", "dog"]
    with pytest.raises(ValueError, match=r"has columns .* and no 'photo': set patches\.image"):
        read(tmp_path / "train", image="photo")


def test_arrays_of_a_data_set_are_bytes_whatever_type_they_come_in(tmp_path):
    found = pixels(channels=3)
    Dataset.from_dict({"image": found.astype(np.int64).tolist()}).save_to_disk(tmp_path)
    assert np.array_equal(read(tmp_path)[0].pixels, found.transpose(0, 3, 1, 2))
    Dataset.from_dict({"image": (found.astype(np.int64) + 200).tolist()}).save_to_disk(tmp_path)
    with pytest.raises(ValueError, match="holds int64 and not uint8: save pixels from 0 to 255"):
        read(tmp_path)


def test_splits_are_folders_or_arrays_by_any_of_their_names(tmp_path):
    folder_of(tmp_path / "train", pixels())
    folder_of(tmp_path / "valid", pixels())
    np.savez(tmp_path / "test.npz", image=pixels())
    found = splits_of(TaskConfig(path=str(tmp_path)))
    assert [found[split].rpartition("/")[2] for split in ("train", "dev", "test")] == ["train", "valid", "test.npz"]
    with pytest.raises(ValueError, match="has no hard, and none is carved off pictures: put a folder"):
        splits_of(TaskConfig(path=str(tmp_path), extra_tests=["hard"]))
    with pytest.raises(ValueError, match=r"task\.path nowhere does not exist in the current folder"):
        splits_of(TaskConfig(path="nowhere"))
    folder_of(tmp_path / "dev", pixels())
    assert splits_of(TaskConfig(path=str(tmp_path), splits={"test": "valid"}))["dev"] == str(tmp_path / "dev")
    np.savez(tmp_path / "train.npz", image=pixels())
    with pytest.raises(ValueError, match=r"several places for one split, \['train', 'train.npz'\]: keep one of them"):
        splits_of(TaskConfig(path=str(tmp_path)))


def test_boxes_come_with_pictures_and_are_checked(tmp_path):
    boxes = np.array([[[0, 0, 0.5, 1.0]], [[0, 0, 1.0, 1 / 3]], [[0, 0, 0, 0]], [[0, 0, 1, 1]]])
    np.savez(tmp_path / "x.npz", image=pixels(), region=boxes)
    rows, *_ = read(tmp_path / "x.npz")
    assert rows.values([1, 0], 6)["region"].tolist() == [[1, 1, 0, 0, 0, 0], [1, 0] * 3]
    assert rows.take([3]).values([0], 6)["region"].tolist() == [[1] * 6]
    np.savez(tmp_path / "x.npz", image=pixels(), region=boxes * 6)
    with pytest.raises(ValueError, match=r"x\.npz, picture 0, column 'region': boxes .* divide pixels by the size"):
        read(tmp_path / "x.npz")
