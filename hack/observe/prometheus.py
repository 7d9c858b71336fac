"""A Prometheus of our own: it scrapes one operator, has our rules and consoles, and is gone when this process is."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any, Final

import urllib3
import yaml

from hack.demo.place import ROOT
from hack.ended import NotPossibleError, end
from hack.ports import reserve_port

DEPLOYED: Final = ROOT / "deploy" / "prometheus"
JOB: Final = "scaleset-operator"
UNTIL_GONE: Final = 'while kill -0 "$0" && kill -0 "$1"; do sleep 1; done; kill "$1"'

Json = dict[str, Any]


def found(name: str) -> str:
    """The program of that name; says in one sentence what to install when there is none."""
    path = shutil.which(name)
    if path is None:
        raise NotPossibleError(
            f"{name} was not found on PATH: install Prometheus (hack/observe/install.sh does it as root on Debian)."
        )
    return path


class Prometheus:
    """One process with its data in `folder`. `scrape` and `evaluate` are Prometheus durations."""

    def __init__(self, folder: Path, target: str, *, scrape: str = "1s", evaluate: str = "1s") -> None:
        self.address = f"127.0.0.1:{reserve_port(self)}"
        self.url = f"http://{self.address}"
        self._folder = folder
        self._settings = {
            "global": {"scrape_interval": scrape, "scrape_timeout": scrape, "evaluation_interval": evaluate},
            "rule_files": [str(DEPLOYED / "scaleset-rules.yaml")],
            # honor_labels: the namespace of a series is the set's, also where discovery adds the operator's.
            "scrape_configs": [
                {"job_name": JOB, "honor_labels": True, "static_configs": [{"targets": [target]}]},
            ],
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._pool = urllib3.PoolManager()

    def start(self) -> None:
        """Returns once it answers queries."""
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = self._folder / "prometheus.yaml"
        settings.write_text(yaml.safe_dump(self._settings))
        command = [found("prometheus"), f"--config.file={settings}", f"--storage.tsdb.path={self._folder / 'data'}"]
        command += [f"--web.listen-address={self.address}", "--log.level=warn"]
        command += [f"--web.console.templates={DEPLOYED / 'consoles'}"]
        command += [f"--web.console.libraries={DEPLOYED / 'console_libraries'}"]
        with (self._folder / "prometheus.log").open("ab") as log:
            # A session of its own: Ctrl-C is for who started it, and ends it in good order.
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self._watcher = subprocess.Popen(
            ["sh", "-c", UNTIL_GONE, str(os.getpid()), str(self._process.pid)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = monotonic() + 60
        while not self._ready():
            if self._process.poll() is not None or monotonic() > deadline:
                raise NotPossibleError(f"Prometheus did not start:\n{self.log()[-2000:]}")
            sleep(0.1)

    def stop(self) -> None:
        """Also when it never started."""
        self._pool.clear()
        if self._watcher is not None:
            self._watcher.terminate()
            self._watcher.wait()
        if self._process is not None and self.runs():
            end(self._process, seconds=20)

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        path = self._folder / "prometheus.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def query(self, expression: str) -> list[Json]:
        """The series that an instant query answers; a scalar as one without labels. ValueError says what is wrong."""
        data = self._api("query", {"query": expression})
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else data["result"]

    def number(self, expression: str) -> float | None:
        """The value of a query that answers one series at most; None when there is none."""
        found = self.query(expression)
        if len(found) > 1:
            raise ValueError(f"{expression} answers {len(found)} series, expected one")
        return float(found[0]["value"][1]) if found else None

    def over(self, expression: str, seconds: int, *, step: int) -> list[Json]:
        """The series that the query answers at any step of the last seconds."""
        now = time()
        fields = {"query": expression, "start": f"{now - seconds:.3f}", "end": f"{now:.3f}", "step": str(step)}
        result: list[Json] = self._api("query_range", fields)["result"]
        return result

    def samples(self, selector: str, seconds: int) -> list[Json]:
        """Every sample of the last seconds as it was scraped, by series."""
        result: list[Json] = self._api("query", {"query": f"{selector}[{seconds}s]"})["result"]
        return result

    def alerts(self) -> list[Json]:
        """Pending and firing ones."""
        result: list[Json] = self._api("alerts", {})["alerts"]
        return result

    def rules(self) -> list[Json]:
        """Groups of rules as they were last evaluated."""
        result: list[Json] = self._api("rules", {})["groups"]
        return result

    def alerts_path(self) -> str:
        """Where its own page of alerts is: Debian's Prometheus has the earlier web interface only."""
        answer = self._pool.request("GET", f"{self.url}/alerts", retries=False, timeout=30)
        return "/alerts" if answer.status == 200 else "/classic/alerts"

    def page(self, path: str) -> str:
        """A page of its web interface; ValueError unless the answer is 200."""
        answer = self._pool.request("GET", f"{self.url}{path}", retries=False, timeout=30)
        text = answer.data.decode()
        if answer.status != 200:
            raise ValueError(f"{path}: {answer.status} {text[:500]}")
        return text

    def _api(self, endpoint: str, fields: dict[str, str]) -> Json:
        answer = self._pool.request(
            "GET", f"{self.url}/api/v1/{endpoint}", fields=fields, retries=False, timeout=30, redirect=False
        )
        body = json.loads(answer.data)
        if body["status"] != "success":
            raise ValueError(f"{fields}: {body.get('error')}")
        data: Json = body["data"]
        return data

    def _ready(self) -> bool:
        try:
            return self._pool.request("GET", f"{self.url}/-/ready", retries=False, timeout=5).status == 200
        except urllib3.exceptions.HTTPError:
            return False
