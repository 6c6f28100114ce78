"""The examples in configs/cluster, read as those read them who will."""

import json
import re
import shlex
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config

from policylearn.config import known_keys, load_config

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "configs" / "cluster"
SCHEMA = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def machines() -> dict:
    return yaml.safe_load((FOLDER / "ray-up.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def job() -> dict:
    return yaml.safe_load((FOLDER / "rayjob.yaml").read_text(encoding="utf-8"))


def containers(job: dict) -> list[dict]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [container for group in groups for container in group["template"]["spec"]["containers"]]


def as_the_autoscaler_reads(job: dict) -> dict:
    """Ray's own reader of the clusters that KubeRay makes."""
    cluster = {"metadata": {"name": "policylearn", "namespace": "default"}, "spec": job["spec"]["rayClusterSpec"]}
    return _derive_autoscaling_config_from_ray_cr(cluster)


def test_ray_up_reads_it(machines):
    jsonschema.validate(machines, SCHEMA)
    validate_config(prepare_config(machines))
    assert machines["available_node_types"]["head"]["resources"] == {"CPU": 0}
    assert machines["available_node_types"]["spot"]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"


@pytest.mark.parametrize("wrong", [{"max_worker": 4}, {"provider": {"region": "x"}}, {"max_workers": "four"}])
def test_ray_up_would_not_read_just_anything(machines, wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(machines | wrong, SCHEMA)


def test_machines_have_a_token_and_no_open_dashboard(machines):
    commands = " ".join(machines["setup_commands"] + machines["head_start_ray_commands"])
    assert "RAY_AUTH_MODE=token" in commands and "--dashboard-host=127.0.0.1" in commands
    assert any(path.endswith("/.ray/auth_token") for path in machines["file_mounts"])


def test_the_autoscaler_reads_the_job(job):
    read = as_the_autoscaler_reads(job)
    types = read["available_node_types"]
    assert types[read["head_node_type"]]["resources"]["CPU"] == 0
    assert (types["spot"]["min_workers"], types["spot"]["max_workers"]) == (0, 4)
    assert types["spot"]["resources"]["CPU"] == 4
    assert read["max_workers"] == 4 and read["idle_timeout_minutes"] == 5


def test_the_autoscaler_would_not_read_just_anything(job):
    wrong = deepcopy(job)
    containers(wrong)[1]["resources"] = {}
    with pytest.raises(ValueError, match="CPU"):
        as_the_autoscaler_reads(wrong)


def test_the_job_runs_a_command_that_we_have(job):
    program, command, path, *rest = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("policylearn", "train")
    out = rest.index("--out")
    assert rest[out + 1].startswith("s3://")
    config = load_config(path.replace("/home/ray/policylearn", str(REPOSITORY)), rest[:out])
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    cores = int(group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert config.cluster.workers * config.cluster.threads == group["maxReplicas"] * cores
    assert config.learn.rollouts >= config.cluster.workers


def test_the_job_starts_anew_cleans_up_and_is_closed(job):
    spec = job["spec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert spec["backoffLimit"] > 0 and spec["ttlSecondsAfterFinished"] > 0 and spec["shutdownAfterJobFinishes"]
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}


def test_versions_are_those_of_this_environment(job):
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
    assert f"rayproject/ray:{version('ray')}-" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_settings_named_on_the_page_exist():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:cluster|learn|model|track)\.[a-z_]+", text))
    assert len(named) > 8
    assert named <= set(known_keys())
    assert all((FOLDER / link).is_file() for link in re.findall(r"\]\(([\w.-]+)\)", text))
