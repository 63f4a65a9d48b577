"""Whether the claims that pods mount are there, asked of Kubernetes itself where it can be.

A pod whose claim is missing waits for it without a word, so it is told before anything is sent.
"""

from collections.abc import Sequence
from typing import Any

from components.errors import InputError

SECONDS = 10  # that Kubernetes may take to answer


def check_claims(claims: Sequence[str], namespace: str, host: str | None) -> list[str]:
    """Looks for claims, with the rights of the pod or of kubeconfig.

    Args:
        claims: names of PersistentVolumeClaims.
        namespace: where they are.
        host: the server's address; with one, kubeconfig may be of another cluster, so that a claim
            which is missing there is told and no error.

    Returns:
        A note where Kubernetes cannot be asked.

    Raises:
        InputError: one is not there.
    """
    if not claims:
        return []
    core, why = _kubernetes()
    if core is None:
        return [f"That the claims {', '.join(claims)} are there was not checked: {why}."]
    from kubernetes.client import ApiException
    from urllib3.exceptions import HTTPError

    for claim in claims:
        try:
            core.read_namespaced_persistent_volume_claim(claim, namespace, _request_timeout=SECONDS)
        except ApiException as error:
            if error.status != 404:
                return [f"That the claim {claim} is there was not checked: {error.reason}."]
            if host is not None:
                return [f"The cluster of kubeconfig has no claim {claim} in {namespace}."]
            raise InputError(
                f"Expected the claim {claim} in the namespace {namespace}. Received: none of that "
                "name. Correct kubeflow.volumes, or make it: kubectl apply -k kubeflow/manifests/…."
            ) from error
        except (HTTPError, OSError) as error:
            return [f"That the claim {claim} is there was not checked: {type(error).__name__}."]
    return []


def _kubernetes() -> tuple[Any, str]:
    """Returns Kubernetes' core API, or None and why there is none."""
    try:
        from kubernetes import client, config
    except ImportError:
        return None, "the package kubernetes is not installed"
    configuration = client.Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        try:
            config.load_kube_config(client_configuration=configuration)
        except config.ConfigException:
            return None, "there is no kubeconfig here"
    configuration.retries = False
    return client.CoreV1Api(client.ApiClient(configuration)), ""
