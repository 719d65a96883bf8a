"""The Kubernetes manifests fit Kubernetes' schemas, as kustomize builds them, and agree with one another."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import (
    DEPLOY,
    KUBERNETES,
    OVERLAYS,
    SECRETS,
    Manifest,
    built,
    documents,
    files_below,
    named,
    serve_variables,
    workloads,
)

VERSIONS = ("1.31", "1.37")  # the oldest supported version, and the newest whose schema is available
overlays = pytest.mark.parametrize("overlay", OVERLAYS)
APP = "app.kubernetes.io/name"


def resources(folder: Path) -> list[Manifest]:
    """The manifests that a kustomization lists, read without kustomize."""
    manifests: list[Manifest] = []
    for name in kustomization(folder)["resources"]:
        path = folder / name
        manifests += resources(path) if path.is_dir() else documents(path.read_text())
    return manifests


def kustomization(folder: Path) -> dict[str, Any]:
    return yaml.safe_load((folder / "kustomization.yaml").read_text())


def pod(manifest: Manifest) -> dict[str, Any]:
    return manifest["spec"]["template"]["spec"]


def faults(manifests: list[Manifest], version: str) -> list[str]:
    """The manifests that do not fit the schemas of Kubernetes `version`, with the reasons."""
    reasons = []
    for manifest in manifests:
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            reasons.append(f"{named(manifest)}: {error.message}")
    return reasons


@pytest.mark.parametrize("version", VERSIONS)
@overlays
def test_the_manifests_that_kustomize_builds_are_valid(overlay: str, version: str) -> None:
    manifests = built(overlay)
    assert manifests
    assert not faults(manifests, version)


@overlays
def test_the_manifests_of_an_overlay_are_valid_before_they_are_patched(overlay: str) -> None:
    manifests = resources(KUBERNETES / overlay)
    assert manifests
    assert not faults(manifests, VERSIONS[-1])


def test_a_misspelt_field_would_be_noticed() -> None:
    manifest = documents((KUBERNETES / "base" / "gateway.yaml").read_text())[0]
    manifest["spec"]["replica"] = 2
    (reason,) = faults([manifest], VERSIONS[-1])
    assert "replica" in reason


@overlays
def test_every_patch_and_every_image_has_its_target(overlay: str) -> None:
    folder = KUBERNETES / overlay
    there = resources(folder)
    spec = kustomization(folder)
    for patch in spec.get("patches", []):
        if "target" in patch:
            assert (patch["target"]["kind"], patch["target"]["name"]) in {named(resource) for resource in there}
            continue
        for manifest in documents((folder / patch["path"]).read_text()):
            assert named(manifest) in {named(resource) for resource in there}
    images = {container["image"] for workload in workloads(there) for container in pod(workload)["containers"]}
    assert images == {image["name"] for image in spec["images"]}
    assert {workload["name"] for workload in spec.get("replicas", [])} <= {
        workload["metadata"]["name"] for workload in workloads(there)
    }
    assert len({named(resource) for resource in there}) == len(there)


def test_every_file_of_the_folder_is_listed() -> None:
    for file in files_below(KUBERNETES, "*/*.yaml"):
        if file.name != "kustomization.yaml":
            spec = kustomization(file.parent)
            assert file.name in {*spec["resources"], *(patch["path"] for patch in spec.get("patches", []))}, file


@overlays
def test_pods_keep_to_the_restricted_standard(overlay: str) -> None:
    manifests = built(overlay)
    labels = next(manifest for manifest in manifests if manifest["kind"] == "Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(manifests):
        spec = pod(workload)
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert all(
            set(volume) - {"name"} <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim"} for volume in spec["volumes"]
        )
        for container in spec["containers"]:
            own = container["securityContext"]
            assert own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]
            assert {"livenessProbe", "readinessProbe"} <= set(container)
            assert not {":", "@"}.isdisjoint(container["image"]) and not container["image"].endswith(":latest")


@overlays
def test_only_the_router_may_speak_to_the_cluster_and_only_read_pods(overlay: str) -> None:
    manifests = built(overlay)
    for workload in workloads(manifests):
        if workload["metadata"]["name"] != "router":
            assert pod(workload)["automountServiceAccountToken"] is False
    rules = [rule for manifest in manifests if manifest["kind"] == "Role" for rule in manifest["rules"]]
    assert all(rule["resources"] == ["pods"] and set(rule["verbs"]) == {"get", "list", "watch"} for rule in rules)
    assert not [manifest for manifest in manifests if manifest["kind"].startswith("ClusterRole")]


@overlays
def test_a_gateway_gets_traffic_only_while_it_can_judge(overlay: str) -> None:
    gateway = next(manifest for manifest in built(overlay) if named(manifest) == ("Deployment", "gateway"))
    container = pod(gateway)["containers"][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz", "an engine's trouble must not restart gateways"


@overlays
def test_every_volume_and_setting_of_a_pod_exists(overlay: str) -> None:
    manifests = built(overlay)
    there = {named(manifest) for manifest in manifests}
    for workload in workloads(manifests):
        spec = pod(workload)
        claims = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"] for volume in spec["volumes"]} | claims
        for volume in spec["volumes"]:
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in there
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in there
            if "secret" in volume:
                assert volume["secret"]["secretName"] == "reasrm"
                assert {item["key"] for item in volume["secret"]["items"]} <= SECRETS
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert all(("ConfigMap", source["configMapRef"]["name"]) in there for source in container.get("envFrom", []))
        account = spec.get("serviceAccountName")
        assert account is None or ("ServiceAccount", account) in there


@overlays
def test_the_gateway_reads_every_setting_that_it_is_given_and_finds_its_engine(overlay: str) -> None:
    manifests = built(overlay)
    settings = next(
        manifest["data"]
        for manifest in manifests
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].startswith("gateway-")
    )
    assert set(settings) <= serve_variables()
    services = {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == "Service"}
    engine = urlsplit(settings["REASRM_ENGINE"])
    assert engine.port in {port["port"] for port in services[str(engine.hostname)]["spec"]["ports"]}
    assert engine.hostname == ("router" if overlay == "scaled" else "sglang")


@overlays
def test_every_selector_matches_and_every_open_port_has_a_listener(overlay: str) -> None:
    manifests = built(overlay)
    apps = {workload["spec"]["template"]["metadata"]["labels"][APP]: workload for workload in workloads(manifests)}
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            assert spec["selector"][APP] in apps
        if manifest["kind"] == "PodDisruptionBudget":
            assert spec["selector"]["matchLabels"][APP] in apps
        if manifest["kind"] == "HorizontalPodAutoscaler":
            assert ("Deployment", spec["scaleTargetRef"]["name"]) in {named(other) for other in manifests}
            assert "replicas" not in apps[spec["scaleTargetRef"]["name"]]["spec"], "kubectl apply would undo the autoscaler"
    open_doors = {app: ports(container) for app, workload in apps.items() for container in pod(workload)["containers"]}
    for policy in (manifest for manifest in manifests if manifest["kind"] == "NetworkPolicy" and manifest["spec"]["podSelector"]):
        app = policy["spec"]["podSelector"]["matchLabels"][APP]
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= open_doors[app]
        for rule in policy["spec"].get("egress", []):
            for peer in rule.get("to", []):
                assert {port["port"] for port in rule["ports"]} <= open_doors[peer["podSelector"]["matchLabels"][APP]]


def ports(container: dict[str, Any]) -> set[int]:
    return {port["containerPort"] for port in container["ports"]}


@overlays
def test_network_traffic_is_refused_unless_it_is_listed(overlay: str) -> None:
    policies = {
        manifest["metadata"]["name"]: manifest["spec"] for manifest in built(overlay) if manifest["kind"] == "NetworkPolicy"
    }
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    to_engine = {
        peer["podSelector"]["matchLabels"][APP]
        for rule in policies["sglang"]["ingress"]
        for peer in rule["from"]
        if "podSelector" in peer
    }
    assert to_engine == {"router" if overlay == "scaled" else "gateway"}, "an engine loads weights for every caller that reaches it"


def test_many_engines_come_with_redis_that_keeps_an_autoscaler_and_budgets() -> None:
    manifests = {named(manifest): manifest for manifest in built("scaled")}
    redis = manifests["StatefulSet", "redis"]
    assert "--appendonly" in pod(redis)["containers"][0]["command"]
    assert redis["spec"]["volumeClaimTemplates"]
    assert manifests["Deployment", "sglang"]["spec"]["replicas"] > 1
    assert ("HorizontalPodAutoscaler", "gateway") in manifests
    assert {name for kind, name in manifests if kind == "PodDisruptionBudget"} == {"gateway", "router", "sglang"}


def test_the_operators_rules_are_the_alerts_and_the_scraped_jobs_have_their_names() -> None:
    alerts = yaml.safe_load((DEPLOY / "monitoring" / "alerts.yml").read_text())
    (rules,) = documents((KUBERNETES / "monitoring" / "rules.yaml").read_text())
    assert rules["spec"]["groups"] == alerts["groups"]
    jobs = {
        (monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/name"], endpoint["relabelings"][0]["replacement"])
        for monitor in documents((KUBERNETES / "monitoring" / "podmonitors.yaml").read_text())
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
    }
    assert jobs == {("gateway", "reasrm"), ("sglang", "sglang")}
    scraped = yaml.safe_load((DEPLOY / "monitoring" / "prometheus.yml").read_text())["scrape_configs"]
    assert {config["job_name"] for config in scraped} == {job for _, job in jobs}


def test_weights_are_copied_onto_the_claim_that_the_engine_reads() -> None:
    (pod,) = documents((KUBERNETES / "weights.yaml").read_text())
    (claim,) = (volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"])
    for overlay in OVERLAYS:
        assert claim in {manifest["metadata"]["name"] for manifest in documents((KUBERNETES / overlay / "models.yaml").read_text())}
    assert pod["spec"]["containers"][0]["volumeMounts"] == [{"name": "models", "mountPath": "/models"}]


def test_the_number_of_gpus_stands_in_one_small_file() -> None:
    for overlay in OVERLAYS:
        values = [patch["value"] for patch in yaml.safe_load((KUBERNETES / overlay / "gpus.yaml").read_text())]
        assert len({value.removeprefix("--tp-size=") for value in values}) == 1
        engine = next(manifest for manifest in built(overlay) if named(manifest) == ("Deployment", "sglang"))
        container = engine["spec"]["template"]["spec"]["containers"][0]
        assert container["args"][-1] == values[-1]
