"""An S3 server, a road to it that can be closed, and what it means that two runs are the same."""

import json
import logging
import socket
import threading
from contextlib import suppress

import pytest
import torch
from moto.server import ThreadedMotoServer
from pyarrow.fs import S3FileSystem

from policylearn.runs.state import load_latest
from policylearn.storage.folder import Storage

MEASURED = ("seconds", "workers", "lost")
BUSY = b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="session")
def s3_port():
    """The port of a server that holds an empty bucket named "bucket"."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        server.start()
        _, port = server.get_host_and_port()
        options = {"endpoint_override": f"127.0.0.1:{port}", "scheme": "http", "region": "us-east-1"}
        S3FileSystem(**options, allow_bucket_creation=True).create_dir("bucket")
        yield port
        server.stop()


@pytest.fixture
def s3(s3_port, tmp_path):
    """`s3("run")`: the URI of a folder of this test; `s3("run", port)`: by way of a proxy."""

    def uri(name: str, port: int = s3_port) -> str:
        return f"s3://bucket/{tmp_path.name}/{name}?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"

    return uri


class Proxy:
    """Forwards connections to a port while `mode` is "open"; else "dropping" or, with status 503, "busy"."""

    def __init__(self, target: int) -> None:
        self._target, self.mode, self.turned_away = target, "open", 0
        self._alive: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def become(self, mode: str) -> None:
        """Change the mode, and cut what is connected now."""
        self.mode = mode
        for end in list(self._alive):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.close()
        self.become("dropping")

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            if self.mode != "open":
                self.turned_away += 1
                if self.mode == "busy":
                    client.recv(65536)
                    client.sendall(BUSY)
                return
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                self._alive |= {client, server}
                back = threading.Thread(target=_pump, args=(server, client), daemon=True)
                back.start()
                _pump(client, server)
                back.join()
                self._alive -= {client, server}


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(s3_port):
    proxy = Proxy(s3_port)
    yield proxy
    proxy.close()


def learned(out) -> dict:
    """What a run learned and found, without what a clock measured; tensors apart."""
    storage = Storage.at(out)
    state, complaints = load_latest(storage / "checkpoints")
    assert complaints == []
    records = {
        name: [
            {key: value for key, value in json.loads(line).items() if key not in MEASURED}
            for line in storage.read(f"{name}.jsonl").splitlines()
        ]
        for name in ("metrics", "trials")
    }
    history = [{key: value for key, value in line.items() if key not in MEASURED} for line in state.history]
    assert records["metrics"] == history
    assert [line["round"] for line in history] == list(range(state.round))
    exported = {name: storage.read(f"{name}/policy.safetensors") for name in ("prior", "policy")}
    return records | exported | {"numbers": state.numbers, "tensors": state.tensors, "best": state.best}


@pytest.fixture(scope="session")
def assert_same_run():
    """Two finished runs, wherever they are: φ, moments, history, trials and exported policies, to the last bit."""

    def same(one, other) -> None:
        mine, theirs = learned(one), learned(other)
        for key in ("tensors", "best"):
            a, b = mine.pop(key), theirs.pop(key)
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
        assert mine == theirs
        arms = [json.loads(Storage.at(out).read("result.json"))["arms"] for out in (one, other)]
        assert [{a: v["scores"] for a, v in one.items()} for one in arms[:1]] == [
            {a: v["scores"] for a, v in other.items()} for other in arms[1:]
        ]

    return same
