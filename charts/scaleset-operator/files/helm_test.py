"""What `helm test` asks, with nothing but the standard library: are the kinds served and may the operator list them,
does it answer, does somebody lead. It tries for a while, since a new leader needs a few seconds.
"""

import argparse
import json
import os
import ssl
import sys
import time
import urllib.request
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

ACCOUNT = Path(os.environ.get("SERVICE_ACCOUNT_DIR", "/var/run/secrets/kubernetes.io/serviceaccount"))
KINDS = ("scalesets", "upgradepolicies", "galleryimageversions")
GROUP = "/apis/scaleset.dev/v1beta1"


def api(path: str) -> tuple[dict, datetime]:
    """What the API server answers to the pod's own account, and when by its clock."""
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    token = (ACCOUNT / "token").read_text(encoding="utf-8").strip()
    request = urllib.request.Request(f"https://{server}{path}", headers={"Authorization": f"Bearer {token}"})
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    # Python 3.13 refuses certificates that kubectl and client-go accept, so clusters have them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    with urllib.request.urlopen(request, timeout=10, context=context) as response:
        return json.load(response), parsedate_to_datetime(response.headers["Date"])


def check_kinds(namespaces: list[str]) -> str:
    """Every kind can be listed wherever the operator serves."""
    for kind in KINDS:
        for path in [f"/namespaces/{name}/{kind}" for name in namespaces] or [f"/{kind}"]:
            api(f"{GROUP}{path}?limit=1")
    return f"{', '.join(KINDS)} are served and may be listed"


def check_metrics(url: str) -> str:
    """The operator answers through its Service."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    if "scaleset_operator_build_info" not in text:
        raise ValueError("no scaleset_operator_build_info in the metrics")
    return f"{url} answers"


def check_lease(namespace: str) -> str:
    """Somebody renews the lease."""
    lease, now = api(f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/scaleset-operator")
    spec = lease["spec"]
    if not spec.get("holderIdentity"):
        raise ValueError("nobody holds the lease")
    age = (now - datetime.fromisoformat(spec["renewTime"])).total_seconds()
    if age > spec["leaseDurationSeconds"]:
        raise ValueError(f"{spec['holderIdentity']} has not renewed the lease for {age:.0f} s")
    return f"{spec['holderIdentity']} leads"


def main() -> None:
    """Exit code 1 when a check does not pass in time."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--metrics")
    parser.add_argument("--lease")
    parser.add_argument("--namespace", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=60, help="how long all checks together may take")
    given = parser.parse_args()
    checks = [lambda: check_kinds(given.namespace)]
    if given.metrics:
        checks.append(lambda: check_metrics(given.metrics))
    if given.lease:
        checks.append(lambda: check_lease(given.lease))
    deadline = time.monotonic() + given.seconds
    for check in checks:
        while True:
            try:
                print(f"ok: {check()}", flush=True)
                break
            except (OSError, ValueError, KeyError) as error:
                if time.monotonic() > deadline:
                    sys.exit(f"failed: {type(error).__name__}: {error}")
                time.sleep(1)


if __name__ == "__main__":
    main()
