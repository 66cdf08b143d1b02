"""The production files: valid, agreeing with each other, and asking only for what exists."""

import json
import pathlib
import re
import subprocess

import kubernetes_validate
import pytest
import yaml

from serving.batching_options import options_from_proto
from serving.config_protos import (
    BatchingParameters,
    MonitoringConfig,
    SSLConfig,
    parse_file,
)
from serving.metrics import Metrics
from tests import real_server
from tests.real_server import production_flags

SERVING = pathlib.Path(__file__).parents[1] / "serving"

# tensorflow_model_server's flags, as far as our files use them; checked against its --help where
# there is one
MODEL_SERVER_FLAGS = {
    "port", "rest_api_port", "model_config_file", "model_config_file_poll_wait_seconds",
    "file_system_poll_wait_seconds", "allow_version_labels_for_unavailable_models",
    "enable_batching",
    "enable_per_model_batching_parameters", "batching_parameters_file", "monitoring_config_file",
    "enable_grpc_healthcheck_service", "grpc_max_threads", "ssl_config_file", "model_name",
    "model_base_path",
}  # fmt: skip
# What the real server was seen to do with them: answers that clients of string_val cannot read;
# nothing at all.
HARMFUL_FLAGS = {"enable_serialization_as_tensor_content", "grpc_channel_arguments"}


def documents(name):
    return list(yaml.safe_load_all((SERVING / "kubernetes" / name).read_text()))


def by_kind(name):
    return {document["kind"]: document for document in documents(name)}


def container(pod_spec, name):
    return next(one for one in pod_spec["containers"] if one["name"] == name)


def flags_of(arguments):
    """name -> value of --name=value arguments; nothing else may be among them."""
    pairs = [re.fullmatch(r"--(\w+)=(.+)", argument).groups() for argument in arguments]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def all_flags():
    """Where -> flags, for the three ways the production server is started."""
    deployment = by_kind("serving.yaml")["Deployment"]["spec"]["template"]["spec"]
    kserve = documents("kserve.yaml")[0]["spec"]["predictor"]
    return {
        "Dockerfile": production_flags(),
        "serving.yaml": flags_of(container(deployment, "serving")["args"]),
        "kserve.yaml": flags_of(container(kserve, "kserve-container")["args"]),
    }


def merged(base, patch):
    """`patch` laid over `base` as kubectl does: maps merge, lists of named things merge by name,
    null removes.
    """
    if isinstance(base, dict) and isinstance(patch, dict):
        out = {key: value for key, value in base.items() if patch.get(key, value) is not None}
        for key, value in patch.items():
            if value is not None:
                out[key] = merged(base.get(key), value)
        return out
    if (
        isinstance(base, list)
        and isinstance(patch, list)
        and all("name" in item for item in base + patch)
    ):
        theirs = {item["name"]: item for item in patch}
        kept = [merged(item, theirs.pop(item["name"], {})) for item in base]
        return kept + list(theirs.values())
    return patch


def pod_of(pod_spec):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": pod_spec}


def test_kubernetes_objects_fit_the_packaged_schemas():
    kinds = set()
    for document in documents("serving.yaml"):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
        kinds.add(document["kind"])
    assert kinds >= {
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "Service",
        "PersistentVolumeClaim",
    }


def test_the_check_would_notice_a_mistake():
    broken = by_kind("serving.yaml")["Deployment"]
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, kubernetes_validate.latest_version(), strict=True)


def test_models_from_a_bucket_replace_the_volume():
    deployment = merged(by_kind("serving.yaml")["Deployment"], documents("bucket.yaml")[0])
    kubernetes_validate.validate(deployment, kubernetes_validate.latest_version(), strict=True)
    volumes = {
        volume["name"]: volume for volume in deployment["spec"]["template"]["spec"]["volumes"]
    }
    assert set(volumes["models"]) == {"name", "emptyDir"}


def test_the_kserve_service_holds_a_valid_pod():
    service = documents("kserve.yaml")[0]
    assert (service["apiVersion"], service["kind"]) == (
        "serving.kserve.io/v1beta1",
        "InferenceService",
    )
    predictor = dict(service["spec"]["predictor"])
    assert {"minReplicas", "maxReplicas", "scaleTarget", "scaleMetric"} <= set(predictor)
    pod_spec = {"containers": predictor["containers"]}
    kubernetes_validate.validate(
        pod_of(pod_spec), kubernetes_validate.latest_version(), strict=True
    )


def test_references_between_the_objects_resolve():
    objects = by_kind("serving.yaml")
    name = objects["Deployment"]["metadata"]["name"]
    pod = objects["Deployment"]["spec"]["template"]
    assert objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == name
    for kind in ("Service", "PodDisruptionBudget"):
        spec = objects[kind]["spec"]["selector"]
        wanted = spec.get("matchLabels", spec)
        assert wanted.items() <= pod["metadata"]["labels"].items()
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert (
        volumes["models"]["persistentVolumeClaim"]["claimName"]
        == objects["PersistentVolumeClaim"]["metadata"]["name"]
    )
    assert volumes["config"]["configMap"]["name"] == objects["ConfigMap"]["metadata"]["name"]
    server = container(pod["spec"], "serving")
    assert {mount["name"] for mount in server["volumeMounts"]} == set(volumes)
    flags = flags_of(server["args"])
    assert {port["containerPort"] for port in server["ports"]} == {
        int(flags["port"]),
        int(flags["rest_api_port"]),
    }
    for flag in ("batching_parameters_file", "monitoring_config_file"):
        assert pathlib.PurePath(flags[flag]).name in objects["ConfigMap"]["data"]


def test_every_start_uses_the_same_flags_and_only_existing_ones():
    every = all_flags()
    reference = every["Dockerfile"]
    for where, flags in every.items():
        assert set(flags) <= MODEL_SERVER_FLAGS and not set(flags) & HARMFUL_FLAGS, where
        same = lambda these: {
            key: value for key, value in these.items() if key != "model_config_file"
        }
        assert same(flags) == same(reference), where
        assert flags["model_config_file"].endswith("/models.config")
    assert {"enable_grpc_healthcheck_service", "rest_api_port", "grpc_max_threads"} <= set(
        reference
    )


def test_the_real_server_knows_the_flags():
    said = subprocess.run([*real_server.command(), "--help"], capture_output=True, text=True)
    known = set(re.findall(r"^\t--(\w+)=", said.stdout + said.stderr, re.MULTILINE))
    assert MODEL_SERVER_FLAGS <= known
    for where, flags in all_flags().items():
        assert set(flags) <= known, where


def test_the_image_starts_with_the_deployments_probes_and_no_model_is_demanded():
    """A model's name in a probe would keep every pod from becoming ready where there is no such
    model.
    """
    server = container(by_kind("serving.yaml")["Deployment"]["spec"]["template"]["spec"], "serving")
    for probe in ("readinessProbe", "startupProbe", "livenessProbe"):
        assert server[probe]["grpc"] == {"port": int(production_flags()["port"])}
    assert "env" not in server


def test_the_text_protos_parse_and_agree(tmp_path):
    batching = parse_file(SERVING / "batching.config", BatchingParameters)
    options_from_proto(batching)
    monitoring = parse_file(SERVING / "monitoring.config", MonitoringConfig)
    assert monitoring.prometheus_config.enable
    assert parse_file(SERVING / "ssl.config.template", SSLConfig).client_verify
    for name, proto in (("batching.config", batching), ("monitoring.config", monitoring)):
        (tmp_path / name).write_text(by_kind("serving.yaml")["ConfigMap"]["data"][name])
        assert parse_file(tmp_path / name, type(proto)) == proto
    path = monitoring.prometheus_config.path
    annotations = by_kind("serving.yaml")["Deployment"]["spec"]["template"]["metadata"][
        "annotations"
    ]
    assert annotations["prometheus.io/path"] == path
    assert (
        yaml.safe_load((SERVING / "prometheus.yaml").read_text())["scrape_configs"][0][
            "metrics_path"
        ]
        == path
    )


def test_the_compose_file_mounts_what_exists():
    compose = yaml.safe_load((SERVING / "compose.yaml").read_text())
    assert (SERVING.parent / compose["services"]["serving"]["build"]["dockerfile"]).is_file()
    for name in ("prometheus", "grafana"):
        for volume in compose["services"][name]["volumes"]:
            assert (SERVING / volume.split(":")[0]).exists(), volume
    for source in re.search(
        r"^COPY (.+) /etc/serving/$", (SERVING / "Dockerfile").read_text(), re.MULTILINE
    )[1].split():
        assert (SERVING.parent / source).is_file()


def test_the_dashboard_asks_only_for_metrics_there_are():
    dashboard = json.loads((SERVING / "grafana" / "avatars.json").read_text())
    known = {metric.name for metric in vars(Metrics()).values()}
    asked = set()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            for name in re.findall(r":tensorflow:[a-z_:]+", target["expr"]):
                asked.add(re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name)
    assert asked <= known and len(asked) >= 6
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)
