"""How the plugin starts, reads its flags and fails: no cluster, or a server that misbehaves."""

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
import yaml

from hack.reference.cli import TARGET, reference
from kubectl_scaleset import options
from kubectl_scaleset.__main__ import BROKEN_PIPE, flags_last, run
from kubectl_scaleset.failures import CliError, did_you_mean, explain
from scaleset.kube import errors

START_SECONDS = 0.2
"""What the plugin may take to start."""
SLOW = ("kopf", "kubernetes", "pydantic", "rich", "aiohttp", "yaml", "urllib3")
VERBS = [
    *("list", "get", "status", "history", "latest", "instances", "logs", "versions", "plan"),
    *("start", "cancel", "suspend", "resume", "rollback", "pin", "unpin", "undo", "restart", "retry"),
    *("apply-model", "protect", "unprotect", "delete-instances", "publish", "exclude", "include", "lint"),
    *("check", "report", "version", "completion"),
]


@pytest.mark.parametrize(
    "arguments", [("--help",), ("get", "--help"), ("__complete", "st"), ("__complete", "get", "-")]
)
def test_help_and_completion_start_at_once(arguments):
    """CPU time of the best of some tries: what other programs do meanwhile is not ours, though they slow us down."""
    times = []
    for _ in range(20):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "kubectl_scaleset", *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if times[-1] < START_SECONDS:
            break
    assert min(times) < START_SECONDS


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["__complete", ""]])
def test_nothing_slow_is_imported_to_help_or_complete(arguments):
    code = (
        "import sys\nfrom kubectl_scaleset.__main__ import run\n"
        f"run({arguments!r})\n"
        f"print([name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_no_verb_imports_kopf():
    """Not even by way of what is imported late."""
    modules = sorted(path.stem for path in (Path(options.__file__).parent).glob("*.py") if path.stem != "__init__")
    code = "import sys, importlib\n" + "".join(
        f"importlib.import_module('kubectl_scaleset.{name}')\n" for name in modules
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{code}print('kopf' in sys.modules)"], check=True, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_help_lists_every_verb(capsys):
    assert run(["--help"]) == 0
    listed = [
        line.split()[0]
        for line in capsys.readouterr().out.split("Commands:\n")[1].partition("\n\n")[0].splitlines()
        if line[2] != " "
    ]
    assert listed == VERBS


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (["pause", "-h"], None),
        (["abort", "-h"], None),
        (["promote", "web"], "kubectl scaleset resume NAME lifts a suspension"),
        (["set", "image", "web"], "kubectl scaleset publish"),
        (["describe", "web"], "kubectl scaleset get NAME"),
        (["rollout", "undo", "web"], "kubectl's rollout undo is kubectl scaleset undo NAME here."),
        (["rollout", "pause", "web"], "kubectl's rollout pause is kubectl scaleset pause NAME here."),
        (["update-instances", "web"], "kubectl scaleset apply-model NAME"),
        (["rolback", "web"], "Did you mean 'rollback'?"),
        (["zzzz"], "No such command 'zzzz'. See kubectl scaleset --help."),
    ],
)
def test_the_neighbours_words_lead_to_ours(line, hint, capsys):
    assert run(line) == (0 if hint is None else 1)
    told = capsys.readouterr()
    assert hint is None or hint in told.err
    assert "Usage: kubectl scaleset" in told.out or hint is not None


@pytest.mark.parametrize("name", ["sset/web", "scaleset/web", "scalesets.scaleset.dev/web", "ScaleSet/web"])
def test_a_name_may_have_its_kind_before_it(name, server, capsys):
    server(404, json.dumps({"kind": "Status", "message": 'scalesets.scaleset.dev "web" not found'}).encode())
    assert run(["get", name]) == 1
    assert Server.paths[0].endswith("/scalesets/web")
    capsys.readouterr()
    assert run(["get", "pod/web"]) == 1
    assert capsys.readouterr().err == "Error: pod/web is no ScaleSet: name one as web or sset/web.\n"


def test_the_reference_is_that_of_the_app():
    assert TARGET.read_text() == reference()
    assert all(f"\n## {verb}\n" in reference() for verb in VERBS)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["get", "web"], ["get", "web"]),
        (["-n", "shop", "get", "web"], ["get", "-n", "shop", "web"]),
        (["--namespace=shop", "--no-color", "list", "-A"], ["list", "--namespace=shop", "--no-color", "-A"]),
        (["--help"], ["--help"]),
        (["-n", "shop", "--help"], ["--help", "-n", "shop"]),
        ([], []),
        (["-n"], ["-n"]),
    ],
)
def test_flags_may_stand_before_the_verb(given, expected):
    assert flags_last(given) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("90", 90.0),
        ("90s", 90.0),
        ("10m", 600.0),
        ("1h30m", 5400.0),
        ("0.5s", 0.5),
        ("250ms", 0.25),
        ("PT5M", 300.0),
    ],
)
def test_durations_are_kubectls(text, seconds):
    assert options.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "10 m", "1d", "m", "-5s", "1m-"])
def test_what_is_no_duration_is_told(text):
    with pytest.raises(CliError, match="write it like 90s, 10m or 1h30m"):
        options.seconds(text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "No such command 'lst'. Did you mean"),
        (["get"], "Missing argument 'NAME'. See kubectl scaleset get --help."),
        (["get", "web", "--nope"], "No such option"),
        (["list", "-o", "wide"], "-o wide is not known here: use table or json or yaml or name."),
        (["start", "web", "--dry-run=client"], "--dry-run client is not known here: use none or server."),
        (["start", "web", "--yes", "--wait", "--timeout", "soon"], "--timeout soon is no duration"),
        (["completion", "tcsh"], "There is no completion for tcsh"),
        (["publish", "x:1", "--definition", "a/b", "--version", "1.0.0", "--yes"], "write it as PUBLISHER/OFFER/SKU"),
        (
            ["publish", "x:1", "--definition", "a/b/c", "--version", "1.0-rc1", "--yes"],
            "write the version as one to four integers",
        ),
        (["publish", "no image", "--definition", "a/b/c", "--version", "1.0.0", "--yes"], "write the image as"),
        (
            ["publish", "x:1", "--definition", "a/b/c", "--yes"],
            "Give the version by --version or by --version-from-tag",
        ),
        (
            ["publish", "x:1", "--definition", "a/b/c", "--version", "1", "--version-from-tag", "(.)", "--yes"],
            "Give the version by --version or by --version-from-tag",
        ),
        (
            ["publish", "x:nightly", "--definition", "a/b/c", "--version-from-tag", "v([0-9]+)", "--yes"],
            "Tag nightly of x:nightly does not match",
        ),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_1(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert run(arguments) == 1
    told = capsys.readouterr()
    assert words in told.err
    assert told.err.startswith("Error: ")
    assert told.err.count("\n") == 1
    assert told.out == ""


def test_without_its_extra_the_plugin_says_what_to_install():
    code = "import sys; sys.modules['click'] = None; from kubectl_scaleset.__main__ import run; sys.exit(run(['list']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "Error: kubectl scaleset needs click and rich: pip install kubectl-scaleset.\n"


def test_a_pipe_that_nobody_reads_is_quiet():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "kubectl_scaleset", "--help"],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (BROKEN_PIPE, "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "kubectl"])
def test_completion_scripts_are_printed(shell, capsys):
    assert run(["completion", shell]) == 0
    assert "kubectl-scaleset __complete" in capsys.readouterr().out


def test_verbs_and_formats_are_completed(capsys):
    run(["__complete", "unp"])
    assert (
        capsys.readouterr().out
        == "unpin\tLet a set follow `latest` again\nunprotect\tTake protection away from instances\n:4\n"
    )
    for words in (["history", "web", "-o", "a"], ["-n", "get", "history", "web", "--output", "a"]):
        run(["__complete", *words])
        assert capsys.readouterr().out == "az-json\n:4\n"
    run(["__complete", "history", "web", "--output=j"])
    assert capsys.readouterr().out == "--output=json\n:4\n"
    run(["__complete", "status", "web", "--t"])
    assert capsys.readouterr().out.split("\t")[0] == "--timeout"
    run(["__complete", "status", "web", ""])
    assert capsys.readouterr().out == ":4\n"
    run(["__complete", "completion", ""])
    assert capsys.readouterr().out == "bash\nzsh\nfish\nkubectl\n:4\n"
    run(["__complete"])
    assert len(capsys.readouterr().out.splitlines()) == len(VERBS) + 1


@pytest.mark.parametrize(
    ("name", "known", "hint"),
    [
        ("wbe", ["web", "db"], ' Did you mean "web"?'),
        ("zzz", ["web", "db"], " There is db, web."),
        ("zzz", [], ""),
        ("q", list("abcdefg"), " There is a, b, c, d, e and 2 more."),
    ],
)
def test_did_you_mean(name, known, hint):
    assert did_you_mean(name, known) == hint


def forbidden(message: str) -> errors.ApiError:
    return errors.from_response(
        403, json.dumps({"kind": "Status", "reason": "Forbidden", "message": message}).encode(), None
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            forbidden('x is forbidden: User "me" cannot get resource "nodes" in API group "" at the cluster scope'),
            "me may not get nodes in the whole cluster: ask for a role with verb get on nodes.",
        ),
        (forbidden("exceeded quota: few"), "The API server refused: exceeded quota: few."),
        (errors.from_response(401, b"", None), "The API server at S does not accept your credentials: log in again"),
        (errors.from_response(503, b"gone fishing", None), "The API server at S answered 503: gone fishing."),
        (errors.from_response(404, b"404 page not found\n", None), "install the CRDs with kubectl apply -f crds/"),
        (
            errors.from_response(409, b'{"kind":"Status","message":"uid"}', None),
            "Somebody else changed it",
        ),
        (errors.from_response(422, b'{"kind":"Status","message":"no"}', None), "The API server refused: no."),
        (errors.from_response(429, b"{}", "3"), "is overloaded: try again in 3 s."),
        (
            errors.from_transport(OSError("Connection refused"), "GET /"),
            "answers at S (connection refused)",
        ),
        (
            errors.from_transport(OSError("certificate verify failed"), "GET /"),
            "certificate authority of the kubeconfig",
        ),
    ],
)
def test_every_answer_of_the_server_is_a_sentence(error, sentence):
    assert sentence in explain(error, server="S")


class Server(BaseHTTPRequestHandler):
    """Answers every request the same way."""

    status: ClassVar[int] = 404
    body: ClassVar[bytes] = b"404 page not found\n"
    seen: ClassVar[list[str]] = []
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if "/leases" in self.path:  # every verb asks for it beside its own request
            return self._answer(404, b"404 page not found\n")
        self.paths.append(self.path)
        self.seen.append(str(self.headers.get("Authorization")))
        return self._answer(self.status, self.body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bytes], None]]:
    """`server(status, body)` is what the cluster of the kubeconfig answers to everything."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    config = {
        "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me", "namespace": "shop"}}],
        "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{http.server_port}"}}],
        "users": [{"name": "me", "user": {"token": "secret-token"}}],
    }
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    Server.seen.clear()
    Server.paths.clear()

    def answer(status: int, body: bytes) -> None:
        Server.status, Server.body = status, body

    yield answer
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.mark.parametrize("arguments", [["list"], ["get", "web"], ["list", "-w"], ["start", "web", "--yes"]])
def test_a_cluster_without_our_crds(server, capsys, arguments):
    server(404, b"404 page not found\n")
    assert run(arguments) == 1
    assert "does not serve scaleset.dev/v1beta1: install the CRDs" in capsys.readouterr().err


def test_something_that_is_no_api_server(server, capsys):
    server(200, b"<html>a login page</html>")
    assert run(["list"]) == 1
    assert "was not answered in JSON" in capsys.readouterr().err
    server(200, b"[]")
    assert run(["list"]) == 1
    assert "was not answered with an object" in capsys.readouterr().err


def test_credentials_that_are_refused_are_read_again_once(server, capsys):
    server(401, b"")
    assert run(["list"]) == 1
    told = capsys.readouterr().err
    assert "does not accept your credentials" in told
    assert "secret-token" not in told
    assert Server.seen == ["Bearer secret-token"] * 2


def test_tokens_are_never_in_check(server, capsys):
    server(500, b"broken")
    assert run(["check"]) == 1
    assert "secret-token" not in "".join(capsys.readouterr())


ONE_CONTEXT = "current-context: a\ncontexts: [{name: a, context: {cluster: c}}]"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[]", "it is no mapping with contexts, clusters and users"),
        ("contexts: [", "it is not YAML at line "),
        ("contexts: 5", "its contexts are no list"),
        ("contexts: [{context: {}}]", "item 1 of its contexts has no name"),
        ("contexts: []", "has no current context"),
        ("current-context: a\ncontexts: []\nclusters: []", 'has no context "a" (its current-context)'),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]",
            'its context "a" names cluster "c", which it does not have',
        ),
        (
            f"{ONE_CONTEXT}\nclusters: [{{name: c, cluster: {{server: x}}}}]",
            'cluster "c" has no server with http:// or https://',
        ),
    ],
)
def test_a_kubeconfig_that_makes_no_sense(text, words, tmp_path, capsys):
    assert run(["list", "--kubeconfig", write(tmp_path / "config", text)]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert str(tmp_path / "config") in told
    assert told.count("\n") == 1


def test_a_kubeconfig_that_does_not_exist(tmp_path, capsys):
    assert run(["list", "--kubeconfig", str(tmp_path / "none")]) == 1
    assert "does not exist: name one with --kubeconfig or KUBECONFIG" in capsys.readouterr().err


def test_without_a_terminal_there_are_neither_colours_nor_questions(server, capsys):
    raw = {"metadata": {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "1"}, "spec": {}}
    server(200, json.dumps(raw).encode())
    assert run(["suspend", "web"]) == 1
    told = capsys.readouterr()
    assert "Suspend web? A running batch still ends. Nobody can be asked here: add --yes to do it." in told.err
    assert "\x1b" not in told.out + told.err


def test_the_transcript_of_the_first_page_is_the_recorded_one():
    docs = TARGET.parents[1]
    page = (docs / "index.md").read_text()
    begin = page.index("```text\n$ kubectl scaleset get web -w\n") + len("```text\n")
    transcript = page[begin : page.index("```", begin)]
    assert transcript in (docs / "cli.txt").read_text()
