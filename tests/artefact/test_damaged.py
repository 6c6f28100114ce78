"""Policies that are refused, each for the reason that is said. What chance does to them: test_fuzz."""

import os
import shutil

import pytest

from policylearn import load_policy

from .editing import digest, edit, sign


def files(folder) -> dict:
    return {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}


def test_nothing_in_it_can_be_executed(saved_policy):
    for name, path in files(saved_policy).items():
        assert path.suffix in {".json", ".safetensors", ".md", ".txt"}, name
        # Neither a pickle nor a zip of pickles (which is what torch.save writes).
        assert path.read_bytes()[:2] not in {b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"}, name


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data if damage == "flip" else data[:-1])
    if damage == "remove":
        path.unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing or (does not match|cannot be read).*; copy it again"):
        load_policy(folder)


def test_a_card_may_be_edited_and_has_to_be_there(folder):
    """On the Hub, in the browser, where nobody mends a manifest."""
    with (folder / "README.md").open("a") as card:
        card.write("\nSee our paper.\n")
    assert load_policy(folder).card.endswith("See our paper.\n")
    (folder / "README.md").unlink()
    with pytest.raises(ValueError, match=r"README\.md is missing"):
        load_policy(folder)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b"[" * 10_000,
        b'{"format": "one", "files": {}}',
        b'{"format": 2, "files": 7}',
        b"\xff",
    ],
)
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json is damaged"):
        load_policy(folder)


@pytest.mark.parametrize("name", ["policy.safetensors", "policy.json"])
def test_a_manifest_that_leaves_out_what_is_needed(folder, name):
    edit(folder / "manifest.json", lambda m: m["files"].pop(name) and None)
    with pytest.raises(ValueError, match=f"{name} is missing or does not match the manifest"):
        load_policy(folder)


@pytest.mark.parametrize("kind", ["../outside.txt", "tokenizer/../../outside.txt", "absolute"])
def test_a_manifest_that_points_out_of_the_folder_is_refused(folder, kind):
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    name = str(outside) if kind == "absolute" else kind
    sign(folder, name)
    assert digest(folder / name) == digest(outside)
    with pytest.raises(ValueError, match=r"lists '.*outside\.txt', which is no part of a policy"):
        load_policy(folder)


def test_whole_files_that_make_no_policy(folder):
    (folder / "policy.safetensors").write_bytes(b"not a tensor file")
    sign(folder)
    with pytest.raises(ValueError, match=r"policy\.safetensors is damaged: it is no safetensors file"):
        load_policy(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("masking") and None, r"policy\.json is damaged: .* masking Field required"),
        (lambda s: s["masking"].update(rate=2.0), r"policy\.json is damaged: .* should be less than 1"),
        (
            lambda s: s["policy"].update(prior={}),
            r"tensor 'strengths' is torch\.float32 \[1\], not torch\.float32 \[0\]",
        ),
        (lambda s: s["policy"].update(prior={"difference": 7.0}), r"tensor 'strengths' holds what it never would"),
        (
            lambda s: s["policy"].update(network="table"),
            r"tensor 'network\.context\.bias' is missing, or is one too many",
        ),
        (
            lambda s: s["policy"].update(hidden=10**9),
            r"tensor 'network\.project\.weight' is .*, not .* \[1000000000, 7\]",
        ),
        (lambda s: s["policy"].update(invented_later=1), "invented_later Extra inputs are not permitted"),
    ],
    ids=["no masking", "rate", "prior", "strength", "network", "size", "unknown setting"],
)
def test_settings_that_do_not_fit_the_tensors(folder, change, message):
    edit(folder / "policy.json", change)
    sign(folder)
    with pytest.raises(ValueError, match=message):
        load_policy(folder)


@pytest.mark.parametrize("name", ["policy.json", "tokenizer/tokenizer.json", "manifest.json"])
@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "folder", "device"])
def test_what_is_no_plain_file_of_the_folder_is_refused(folder, saved_policy, tmp_path, name, kind):
    path = folder / name
    path.unlink()
    if kind == "link":
        path.symlink_to(saved_policy / name)
    elif kind == "folder link":
        shutil.rmtree(folder / "tokenizer")
        (folder / "tokenizer").symlink_to(saved_policy / "tokenizer")
        shutil.copy(saved_policy / name, path) if "/" not in name else None
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(ValueError, match=r"leads out of the folder|is no plain file|Is a directory"):
        load_policy(folder)


@pytest.mark.parametrize("number", ["9" * 20, "-" + "9" * 25, "1e999", "NaN", "-Infinity", "9" * 5000])
def test_numbers_that_nothing_can_hold_are_refused(folder, number):
    path = folder / "policy.json"
    path.write_text(path.read_text().replace('"span_longest": 10', f'"span_longest": {number}'))
    sign(folder)
    with pytest.raises(ValueError, match=r"policy\.json is damaged: .*(too large|Exceeds)"):
        load_policy(folder)


def test_nothing_is_built_before_the_shapes_are_known_to_be_right(folder, monkeypatch):
    def build(*_):
        raise AssertionError("built")

    monkeypatch.setattr("policylearn.artefact.loading.MaskingPolicy", build)
    with pytest.raises(ValueError, match="is damaged: built"):
        load_policy(folder)  # ... as it is, if they are right
    edit(folder / "policy.json", lambda s: s["policy"].update(hidden=10**9))
    sign(folder)
    with pytest.raises(ValueError, match=r"'network\.project\.weight' is"):
        load_policy(folder)


def test_links_within_the_folder_are_followed(folder):
    (folder / "policy.json").rename(folder / "other.json")
    (folder / "policy.json").symlink_to("other.json")
    assert load_policy(folder).provenance == {"tokenizer": "planted"}


def test_a_file_larger_than_any_of_its_kind_is_not_read(folder):
    with (folder / "README.md").open("r+b") as file:
        file.truncate(1 << 40)  # a hole: it takes no room on the disk
    with pytest.raises(ValueError, match=r"README\.md has 1099511627776 bytes, at most 16777216 are read"):
        load_policy(folder)
