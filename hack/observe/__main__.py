"""`python -m hack.observe [--screenshot]`: runs until Ctrl-C, or makes the pictures in docs/images/ and ends."""

import argparse
import subprocess
import sys
from pathlib import Path
from time import monotonic
from urllib.parse import quote

from hack.demo.embedded import Embedded
from hack.demo.place import ROOT
from hack.ended import NotPossibleError, end_on_signals, not_possible, undisturbed
from hack.observe.chromium import screenshot
from hack.observe.fleet import API, WEB, Fleet
from hack.observe.prometheus import Prometheus
from hack.observe.scenario import Scenario
from kubectl_scaleset.client import Client

IMAGES = ROOT / "docs" / "images"
LOG_LINES = 20
BY_VERSION = f'sum by (version) (scaleset_instances{{scaleset="{WEB}"}})'
# The most fleeting ones first.
PICTURES = {
    "rollout.png": (f"/consoles/scaleset-rollout.html?namespace=default&scaleset={API}", 1240, 520),
    "fleet.png": ("/consoles/scaleset-fleet.html", 1240, 510),
    "faulted.png": (f"/consoles/scaleset-rollout.html?namespace=default&scaleset={WEB}", 1240, 600),
    "graph.png": (f"/graph?g0.expr={quote(BY_VERSION)}&g0.tab=0&g0.stacked=1&g0.range_input=2m", 1240, 860),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hack.observe", description=__doc__)
    parser.add_argument("--screenshot", action="store_true", help="write docs/images/ with headless Chromium and end")
    pictures = parser.parse_args().screenshot
    end_on_signals()
    try:
        _install("prometheus", *(["chromium"] if pictures else []))
        embedded = Embedded.prepared(prefix="observe")
    except NotPossibleError as error:
        return not_possible(error)
    code = 1
    prometheus = Prometheus(embedded.data / "prometheus", embedded.metrics)
    try:
        _run(embedded, prometheus, pictures=pictures)
        code = 0
    except NotPossibleError as error:
        not_possible(error)
        print("The end of the operator's log:", *embedded.operator_log(LOG_LINES), sep="\n  ", file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
    except SystemExit as error:
        code = int(str(error.code))
    finally:
        undisturbed()
        print(f"\nStopping Prometheus and deleting cluster {embedded.name} ...", flush=True)
        prometheus.stop()
        embedded.delete()
    return code


def _run(embedded: Embedded, prometheus: Prometheus, *, pictures: bool) -> None:
    began = monotonic()

    def say(text: str) -> None:
        print(f"{monotonic() - began:6.1f} s  {text}", flush=True)

    say(f"Starting cluster {embedded.name}, the operator and Prometheus ...")
    embedded.start_cluster()
    client = Client(str(embedded.kubeconfig), None)
    embedded.start_operator(client)
    prometheus.start()
    alive = embedded.operator_runs
    scenario = Scenario(Fleet(client), prometheus, say=say, alive=lambda: alive() and prometheus.runs())
    if not pictures:
        _tell(embedded, prometheus)
    scenario.begin()
    scenario.good()
    scenario.bad()
    if pictures:
        for name, (path, width, height) in PICTURES.items():
            say(f"Rendering docs/images/{name} ...")
            screenshot(f"{prometheus.url}{path}", IMAGES / name, width=width, height=height)
        return
    say("One rollout has been stopped, one stands still, one rolls. From now on a version a minute, until Ctrl-C.")
    scenario.go_on()


def _tell(embedded: Embedded, prometheus: Prometheus) -> None:
    print(
        f"\nLook at\n"
        f"  {prometheus.url}/consoles/scaleset-fleet.html\n"
        f"  {prometheus.url}{prometheus.alerts_path()}\n"
        f"  http://{embedded.metrics}/metrics\n"
        f"  {embedded.kubectl(embedded.name)} get sset\n",
        flush=True,
    )


def _install(*packages: str) -> None:
    script = Path(__file__).with_name("install.sh")
    if subprocess.run([script, *packages], stdin=subprocess.DEVNULL, check=False).returncode:
        raise NotPossibleError("")  # it said why


if __name__ == "__main__":
    sys.exit(main())
