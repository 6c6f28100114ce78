"""Ways to damage a policy's files, each a function of random numbers: (files, random) → files.

`files` maps the names of a policy's files to their content. Most damage is signed: the manifest is made to match it,
so that it gets past the digests to what reads the file.
"""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from policylearn.artefact.manifest import MANIFEST, digest

Files = dict[str, bytes]
JSON = ["policy.json", "tokenizer/tokenizer_config.json", "tokenizer/tokenizer.json"]
TENSORS = "policy.safetensors"
NASTY: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 127, 10**9, 2**62, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e308, 1e999),
    *("", "x", "..", "/etc/passwd", "../../outside", "policy.json", "[MASK]", "float32", "\ud800", "x" * 10_000),
    *([], {}, [1], [None], {"a": 1}, [[1, 2], [3]], {"kind": "linear", "rates": [0.1, 1e9]}, {"content": "[MASK]"}),
]
SHAPES: list[Any] = [[], [0], [1], [2, 2], [0, 2**62], [2**32, 2**32], [2**63 - 1], [-1], [1] * 65, [1e9], "x", None]
DTYPES = ["F32", "F64", "F16", "BF16", "I64", "I8", "U8", "BOOL", "F8_E4M3", "C64", "F4", "X", 7, None]


def sign(files: Files) -> Files:
    """The manifest made to match the other files, what else it holds left as it is."""
    manifest = json.loads(files[MANIFEST])
    others = {name: digest(data) for name, data in files.items() if name != MANIFEST}
    return files | {MANIFEST: json.dumps(manifest | {"files": others}).encode()}


def flip(files: Files, rng: random.Random) -> Files:
    """A few bits of one file."""
    name = rng.choice(sorted(files))
    data = bytearray(files[name])
    for _ in range(rng.choice([1, 1, 1, 3, 30])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return _mostly_signed(files | {name: bytes(data)}, rng)


def cut(files: Files, rng: random.Random) -> Files:
    """The end, the beginning or the middle of one file."""
    name = rng.choice(sorted(files))
    data, (start, end) = files[name], sorted(rng.choices(range(len(files[name])), k=2))
    left = rng.choice([data[:start], data[end:], data[:start] + data[end:], data + data[start:end], b""])
    return _mostly_signed(files | {name: left}, rng)


def remove(files: Files, rng: random.Random) -> Files:
    """One file or two."""
    gone = rng.choices(sorted(files), k=rng.choice([1, 2]))
    return _mostly_signed({name: data for name, data in files.items() if name not in gone}, rng)


def swap(files: Files, rng: random.Random) -> Files:
    """Two files for each other."""
    one, other = rng.sample(sorted(files), k=2)
    return _mostly_signed(files | {one: files[other], other: files[one]}, rng)


def edit(files: Files, rng: random.Random) -> Files:
    """Values of a JSON file: replaced, removed or added."""
    name = rng.choice(JSON)
    content = json.loads(files[name])
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        _edit(content, rng)
    return sign(files | {name: json.dumps(content).encode()})


def edit_manifest(files: Files, rng: random.Random) -> Files:
    """Values of the manifest."""
    content = json.loads(files[MANIFEST])
    _edit(content, rng)
    return files | {MANIFEST: json.dumps(content).encode()}


def bomb(files: Files, rng: random.Random) -> Files:
    """A JSON file that is deep, long, or full of digits."""
    name, size = rng.choice([*JSON, MANIFEST]), rng.choice([100, 1_000, 100_000])
    shape = rng.choice(["[" * size + "]" * size, '{"a":' * size + "1" + "}" * size, "[" * size, "9" * size, "[{}]"])
    known = json.loads(files[name])
    inside = json.dumps(known | {rng.choice(sorted(known)): "HERE"}).replace('"HERE"', shape)
    data = rng.choice([shape, inside]).encode()
    return files | {name: data} if name == MANIFEST else sign(files | {name: data})


def header(files: Files, rng: random.Random) -> Files:
    """What a safetensors file says of its tensors."""
    content, body = unpack(files[TENSORS])
    for _ in range(rng.choice([1, 1, 2])):
        name, other = rng.choices(sorted(content), k=2)
        change = rng.choice(["shape", "dtype", "data_offsets", "swap", "remove", "rename", "add", "any"])
        if change == "swap":
            content[name], content[other] = content[other], content[name]
        elif change == "remove" and len(content) > 1:
            del content[name]
        elif change == "rename":
            content[rng.choice(["network.logits", "x", "", "trust", "__metadata__"])] = content.pop(name)
        elif change == "add":
            content["extra"] = {"dtype": "F32", "shape": rng.choice(SHAPES), "data_offsets": [0, 0]}
        elif change == "any":
            _edit(content, rng)
        elif isinstance(content[name], dict):
            offsets = [[0, 0], [0, len(body)], [4, 0], [0, 2**63], [-1, 4]]
            content[name][change] = rng.choice({"shape": SHAPES, "dtype": DTYPES, "data_offsets": offsets}[change])
    return sign(files | {TENSORS: pack(content, body)})


def length(files: Files, rng: random.Random) -> Files:
    """The size a safetensors header claims to have, or a header of noise."""
    data = files[TENSORS]
    claim = rng.choice(
        [0, 1, 7, len(data), 100_000_001, 2**31, 2**63, 2**64 - 1, rng.getrandbits(64), rng.randrange(999)]
    )
    noise = rng.choice([data[8:], rng.randbytes(rng.randrange(200)), b"{" * rng.randrange(1, 10_000)])
    return sign(files | {TENSORS: claim.to_bytes(8, "little") + noise})


def values(files: Files, rng: random.Random) -> Files:
    """Numbers of a tensor: extreme, not numbers, or random bytes; header and sizes are right."""
    content, body = unpack(files[TENSORS])
    filled = [name for name in sorted(content) if content[name]["data_offsets"][0] < content[name]["data_offsets"][1]]
    name = rng.choice(filled)
    start, end = content[name]["data_offsets"]
    floats = np.float32([rng.choice([np.nan, np.inf, -np.inf, 3e38, -3e38, 1e20, 0, 1e-45])])
    fill = rng.choice([floats.tobytes(), rng.randbytes(4), b"\xff", b"\x80", b"\x02", b"\0", b"\x7f"])
    share = slice(start, rng.choice([end, end, start + len(fill)]))
    new = bytearray(body)
    new[share] = (fill * (end - start))[: share.stop - start]
    return sign(files | {TENSORS: pack(content, bytes(new))})


KINDS: list[Callable[[Files, random.Random], Files]] = [
    *(flip, cut, remove, swap, edit, edit_manifest, bomb, header, length, values)
]


def unpack(data: bytes) -> tuple[dict[str, Any], bytes]:
    """Header and body of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def pack(content: dict[str, Any], body: bytes) -> bytes:
    head = json.dumps(content).encode()
    return len(head).to_bytes(8, "little") + head + body


def _mostly_signed(files: Files, rng: random.Random) -> Files:
    try:
        return sign(files) if rng.random() < 0.8 else files
    except (KeyError, ValueError, TypeError):  # the manifest is what was damaged
        return files


def _edit(content: Any, rng: random.Random) -> None:
    """Change one value, somewhere in nested lists and objects."""
    while True:
        keys = sorted(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = rng.choice(keys)
        inner = content[key]
        if not (isinstance(inner, dict | list) and inner and rng.random() < 0.8):
            break
        content = inner
    change = rng.choice(["replace"] * 4 + ["remove", "add"])
    if change == "replace":
        content[key] = copy.deepcopy(rng.choice(NASTY))
    elif change == "remove":
        del content[key]
    elif isinstance(content, dict):
        content[rng.choice(["auto_map", "vocab_file", "tokenizer_file", "gguf_file", "x", "../x"])] = copy.deepcopy(
            rng.choice(NASTY)
        )
    else:
        content.append(copy.deepcopy(rng.choice(NASTY)))
